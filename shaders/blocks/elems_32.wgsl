// Blocks of 32 elements: the first vec4s of 8 lanes, and the second ones, which may be those of 8 others. The scale is
// a bf16: a word holds that of the first block in its lower half, and in its upper half that of the block 128
// elements behind it.

const SCALE_WORDS: u32 = 4u;

// Of each lane, for up to 128: of both vec4s the first two slots and, behind those of all lanes, the
// others.
var<workgroup> lane_max: array<vec4<u32>, 256>;

// Eight values are few enough for every lane to look at them: one barrier for all slots.
fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    lane_max[a.lane] = vec4<u32>(of_a.xy, of_b.xy);
    if (SLOTS > 2u) {
        lane_max[128u + a.lane] = vec4<u32>(of_a.zw, of_b.zw);
    }
    workgroupBarrier();
    let at = a.lane / 8u * 8u;
    let first = max_of_lanes(at);
    var others = vec4<u32>();
    if (SLOTS > 2u) {
        others = max_of_lanes(128u + at);
    }
    if (LANE_VEC4S == 1u) {
        // The lane that writes their scales needs those of both.
        var next = vec4<u32>();
        if (a.part % 8u == 0u) {
            next = vec4<u32>(max_of_lanes(at ^ 32u).xy, vec2<u32>());
            if (SLOTS > 2u) {
                next = vec4<u32>(next.xy, max_of_lanes(128u + (at ^ 32u)).xy);
            }
        }
        return Largest(vec4<u32>(first.xy, others.xy), next);
    }
    return Largest(vec4<u32>(first.xy, others.xy), vec4<u32>(first.zw, others.zw));
}

fn max_of_lanes(at: u32) -> vec4<u32> {
    var largest = lane_max[at];
    for (var i = 1u; i < 8u; i++) {
        largest = max(largest, lane_max[at + i]);
    }
    return largest;
}

// (Where the second vec4 has no elements, its block's scale is 0.)
fn load_scales(first: u32, a: Place) -> vec2<f32> {
    let word = state[first + CODE_WORDS + a.part % 32u / 8u];
    let scales = bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
    return select(scales, scales.yx, LANE_VEC4S == 1u && a.part >= 32u);
}

// The first lane of eight is live if any is; where the second block has no elements, its scale is 0.
fn store_scales(first: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.part % 8u == 0u && (LANE_VEC4S == 2u || a.part < 32u)) {
        let word = first + CODE_WORDS + a.part % 32u / 8u;
        state[word] = (of_a >> 16u) | (of_b & 0xffff0000u);
    }
}
