// Blocks of 32 elements: the first vec4s of 8 lanes, and the second ones. The scale is a bf16: a word
// holds that of the first block in its lower half, and in its upper half that of the block 128 elements
// behind it.

const SCALE_WORDS: u32 = 4u;

// The bits of the largest magnitudes around a lane's two vec4s, by slot.
struct Largest {
    a: vec4<u32>,
    b: vec4<u32>,
}

var<workgroup> lane_max: array<Largest, WORKGROUP_SIZE>;

// Eight values are few enough for every lane to look at them: one barrier for all slots.
fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    lane_max[a.lane] = Largest(of_a, of_b);
    workgroupBarrier();
    let at = a.lane / 8u * 8u;
    var largest = lane_max[at];
    for (var i = 1u; i < 8u; i++) {
        largest = Largest(max(largest.a, lane_max[at + i].a), max(largest.b, lane_max[at + i].b));
    }
    return largest;
}

fn load_scale(slot: u32, place: Place) -> f32 {
    let word = slot_word(slot, first_word(place) + CODE_WORDS + place.home % 32u / 8u);
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, place.home % 64u >= 32u));
}

// The first lane of eight is live if any is; where the second block has no elements, its scale is 0.
fn store_scale(slot: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.home % 8u == 0u) {
        let word = first_word(a) + CODE_WORDS + a.home % 32u / 8u;
        set_slot_word(slot, word, (of_a >> 16u) | (of_b & 0xffff0000u));
    }
}
