// Blocks of 128 elements: the first vec4s of 32 lanes, and the second ones. The scale is an f32.

const SCALE_WORDS: u32 = 2u;

// The bits of the largest magnitudes around a lane's two vec4s, by slot.
struct Largest {
    a: vec4<u32>,
    b: vec4<u32>,
}

var<workgroup> lane_max: array<Largest, WORKGROUP_SIZE>;
var<workgroup> quad_max: array<Largest, WORKGROUP_SIZE>;

// 32 lanes, then 8, then 1: two barriers for all slots.
fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    lane_max[a.lane] = Largest(of_a, of_b);
    workgroupBarrier();
    if (a.lane < WORKGROUP_SIZE / 4u) {
        let at = a.lane * 4u;
        var largest = lane_max[at];
        for (var i = 1u; i < 4u; i++) {
            largest = Largest(max(largest.a, lane_max[at + i].a), max(largest.b, lane_max[at + i].b));
        }
        quad_max[a.lane] = largest;
    }
    workgroupBarrier();
    let at = a.lane / BLOCK_LANES * 8u;
    var largest = quad_max[at];
    for (var i = 1u; i < 8u; i++) {
        largest = Largest(max(largest.a, quad_max[at + i].a), max(largest.b, quad_max[at + i].b));
    }
    return largest;
}

fn load_scale(slot: u32, place: Place) -> f32 {
    return bitcast<f32>(slot_word(slot, first_word(place) + CODE_WORDS + place.home % 64u / 32u));
}

// The first lane is live if any is; where the second block has no elements, its scale is 0.
fn store_scale(slot: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.home % 64u == 0u) {
        let word = first_word(a) + CODE_WORDS;
        set_slot_word(slot, word, of_a);
        set_slot_word(slot, word + 1u, of_b);
    }
}
