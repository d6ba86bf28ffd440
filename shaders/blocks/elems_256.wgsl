// Blocks of 256 elements: both vec4s of 32 lanes. The scale is an f32.

const SCALE_WORDS: u32 = 1u;

// Of each lane, and of each eighth lane of a block together, for up to 256 lanes: the first two slots
// and, behind those of all lanes, the others. (Pairs of slots: llvmpipe takes a vec4 longer.)
var<workgroup> lane_max: array<vec2<u32>, 512>;
var<workgroup> part_max: array<vec2<u32>, 64>;

// 32 lanes, then 4, then 1: two barriers for all slots.
fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    let of_lane = max(of_a, of_b);
    lane_max[a.lane] = of_lane.xy;
    if (SLOTS > 2u) {
        lane_max[256u + a.lane] = of_lane.zw;
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
    var largest = vec4<u32>(max_of_parts(at), 0u, 0u);
    if (SLOTS > 2u) {
        largest = vec4<u32>(largest.xy, max_of_parts(32u + at));
    }
    return Largest(largest, largest);
}

fn max_of_lanes(at: u32) -> vec2<u32> {
    var largest = lane_max[at];
    for (var i = 4u; i < BLOCK_LANES; i += 4u) {
        largest = max(largest, lane_max[at + i]);
    }
    return largest;
}

fn max_of_parts(at: u32) -> vec2<u32> {
    return max(max(part_max[at], part_max[at + 1u]), max(part_max[at + 2u], part_max[at + 3u]));
}

// Both vec4s lie in one block (or the second has no elements).
fn load_scales(slot: u32, a: Place, b: Place) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(slot_word(slot, first_word(a) + CODE_WORDS)));
}

// The block's first lane is live if any is.
fn store_scales(slot: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.home % 64u == 0u) {
        set_slot_word(slot, first_word(a) + CODE_WORDS, of_a);
    }
}
