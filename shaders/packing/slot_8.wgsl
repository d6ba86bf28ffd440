// Codes of eight bits: the word of a vec4 holds its four, as packing/bytes.wgsl packs them.

const CODE_WORDS: u32 = 64u;

fn load_codes(first: u32, place: Place) -> vec4<u32> {
    return unpack_bytes(state[first + place.part]);
}

// `first` of either vec4's tile.
fn store_codes(first: vec2<u32>, a: Place, b: Place, of_a: u32, of_b: u32) {
    if (a.count != 0u) {
        state[first.x + a.part] = of_a;
    }
    if (b.count != 0u) {
        state[first.y + b.part] = of_b;
    }
}
