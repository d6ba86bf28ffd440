// Blocks of 128 elements: the first vec4s of 32 lanes, and the second ones. The scale is an f32.

const SCALE_WORDS: u32 = 2u;

// Of each lane, and of each eighth lane of a block together, for up to 256 lanes: of both vec4s the
// first two slots and, behind those of all lanes, the others.
var<workgroup> lane_max: array<vec4<u32>, 512>;
var<workgroup> part_max: array<vec4<u32>, 64>;

// 32 lanes, then 4, then 1: two barriers for all slots.
fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    lane_max[a.lane] = vec4<u32>(of_a.xy, of_b.xy);
    if (SLOTS > 2u) {
        lane_max[256u + a.lane] = vec4<u32>(of_a.zw, of_b.zw);
    }
    workgroupBarrier();
    if (a.lane < WORKGROUP_SIZE / 8u) {
        // Neighbouring lanes look at neighbours.
        let at = a.lane / 4u * BLOCK_LANES + a.lane % 4u;
        part_max[a.lane] = max_of_lanes(at);
        if (SLOTS > 2u) {
            part_max[32u + a.lane] = max_of_lanes(256u + at);
        }
    }
    workgroupBarrier();
    let at = a.lane / BLOCK_LANES * 4u;
    let first = max_of_parts(at);
    var others = vec4<u32>();
    if (SLOTS > 2u) {
        others = max_of_parts(32u + at);
    }
    return Largest(vec4<u32>(first.xy, others.xy), vec4<u32>(first.zw, others.zw));
}

fn max_of_lanes(at: u32) -> vec4<u32> {
    var largest = lane_max[at];
    for (var i = 4u; i < BLOCK_LANES; i += 4u) {
        largest = max(largest, lane_max[at + i]);
    }
    return largest;
}

fn max_of_parts(at: u32) -> vec4<u32> {
    return max(max(part_max[at], part_max[at + 1u]), max(part_max[at + 2u], part_max[at + 3u]));
}

// (Where the second vec4 has no elements, its block's scale is 0.)
fn load_scales(slot: u32, a: Place, b: Place) -> vec2<f32> {
    let word = first_word(a) + CODE_WORDS;
    return bitcast<vec2<f32>>(vec2<u32>(slot_word(slot, word), slot_word(slot, word + 1u)));
}

// The first lane is live if any is; where the second block has no elements, its scale is 0.
fn store_scales(slot: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.home % 64u == 0u) {
        let word = first_word(a) + CODE_WORDS;
        set_slot_word(slot, word, of_a);
        set_slot_word(slot, word + 1u, of_b);
    }
}
