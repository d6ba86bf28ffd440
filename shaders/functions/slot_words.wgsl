// Where the slots of a tile lie: one behind the other.

// How many slots the rule keeps: of 256 elements, all slots lie together, one behind the other.
override SLOTS: u32 = 0u;
// Bit n: slot n is kept in f32, whatever the format of the others: a weight or a sum, not a moment.
override EXACT_SLOTS: u32 = 0u;
// How many slots in f32 lie behind these: what comes after the update of any rule.
override AFTER_SLOTS: u32 = 0u;

// Bit n: slot n is stored. (Codes of a slot that stays are not made anew, which would round it again.)
override STORED_SLOTS: u32 = 0xffffffffu;

fn is_stored(slot: u32) -> bool {
    return ((STORED_SLOTS >> slot) & 1u) == 1u;
}

fn is_exact(slot: u32) -> bool {
    return ((EXACT_SLOTS >> slot) & 1u) == 1u;
}

// The word of `state` at which a slot's part of a tile begins: of the 256 elements around a place.
// (SLOT_WORDS and EXACT_WORDS are the format's: words of a tile in a slot that it codes, and in f32.)
fn first_word(slot: u32, place: Place) -> u32 {
    return place.tile * (words_before(SLOTS) + AFTER_SLOTS * EXACT_WORDS) + words_before(slot);
}

// The same of a slot behind the rule's.
fn after_word(slot: u32, place: Place) -> u32 {
    return first_word(SLOTS, place) + slot * EXACT_WORDS;
}

fn words_before(slot: u32) -> u32 {
    let exact = countOneBits(EXACT_SLOTS & ((1u << slot) - 1u));
    return slot * SLOT_WORDS + exact * (EXACT_WORDS - SLOT_WORDS);
}
