// Codes of eight bits: the word of a vec4 holds its four, as words/bytes.wgsl packs them.

const CODE_WORDS: u32 = 64u;

fn load_codes(slot: u32, place: Place) -> vec4<u32> {
    return unpack_bytes(slot_word(slot, first_word(place) + place.home % 64u));
}

fn store_codes(slot: u32, a: Place, b: Place, of_a: vec4<u32>, of_b: vec4<u32>) {
    set_slot_word(slot, first_word(a) + a.home % 64u, pack_bytes(of_a));
    if (b.count != 0u) {
        set_slot_word(slot, first_word(b) + b.home % 64u, pack_bytes(of_b));
    }
}
