// The state of four elements, slot by slot; a slot that the rule does not keep is zero.

struct Slots {
    slot0: vec4<f32>,
    slot1: vec4<f32>,
    slot2: vec4<f32>,
    slot3: vec4<f32>,
    slot4: vec4<f32>,
    slot5: vec4<f32>,
    slot6: vec4<f32>,
    slot7: vec4<f32>,
}

// Of a lane's two vec4s.
struct BothSlots {
    a: Slots,
    b: Slots,
}

// How many slots the rule keeps: of 256 elements, all slots lie together, one behind the other.
override SLOTS: u32 = 0u;
// Bit n: slot n is kept in f32, whatever the format of the others: a weight or a sum, not a moment.
override EXACT_SLOTS: u32 = 0u;

fn is_exact(slot: u32) -> bool {
    return ((EXACT_SLOTS >> slot) & 1u) == 1u;
}

// The word of `state` at which a slot's part of a tile begins: of the 256 elements around a place.
// (SLOT_WORDS and EXACT_WORDS are the format's: words of a tile in a slot that it codes, and in f32.)
fn first_word(slot: u32, place: Place) -> u32 {
    return place.tile * words_before(SLOTS) + words_before(slot);
}

fn words_before(slot: u32) -> u32 {
    let exact = countOneBits(EXACT_SLOTS & ((1u << slot) - 1u));
    return slot * SLOT_WORDS + exact * (EXACT_WORDS - SLOT_WORDS);
}
