// Blocks of 256 elements: both vec4s of 32 lanes. The scale is an f32.

const SCALE_WORDS: u32 = 1u;

// The bits of the largest magnitudes around a lane's two vec4s, by slot.
struct Largest {
    a: vec4<u32>,
    b: vec4<u32>,
}

var<workgroup> lane_max: array<vec4<u32>, WORKGROUP_SIZE>;
var<workgroup> quad_max: array<vec4<u32>, WORKGROUP_SIZE>;

// 32 lanes, then 8, then 1: two barriers for all slots.
fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    lane_max[a.lane] = max(of_a, of_b);
    workgroupBarrier();
    if (a.lane < WORKGROUP_SIZE / 4u) {
        let at = a.lane * 4u;
        quad_max[a.lane] =
            max(max(lane_max[at], lane_max[at + 1u]), max(lane_max[at + 2u], lane_max[at + 3u]));
    }
    workgroupBarrier();
    let at = a.lane / BLOCK_LANES * 8u;
    let largest = max(
        max(max(quad_max[at], quad_max[at + 1u]), max(quad_max[at + 2u], quad_max[at + 3u])),
        max(max(quad_max[at + 4u], quad_max[at + 5u]), max(quad_max[at + 6u], quad_max[at + 7u])),
    );
    return Largest(largest, largest);
}

fn load_scale(slot: u32, place: Place) -> f32 {
    return bitcast<f32>(slot_word(slot, first_word(place) + CODE_WORDS));
}

// The block's first lane is live if any is.
fn store_scale(slot: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.home % 64u == 0u) {
        set_slot_word(slot, first_word(a) + CODE_WORDS, of_a);
    }
}
