// Two codes of 16 bits in a u32, the earlier element in the lower half.

fn unpack_codes(words: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u);
}

fn pack_codes(codes: vec4<u32>) -> vec2<u32> {
    return codes.xz | (codes.yw << vec2<u32>(16u));
}

// The code of element i, of which the word holds the one or the other half.
fn half_of(word: u32, i: u32) -> u32 {
    return (word >> (16u * (i % 2u))) & 0xffffu;
}

fn with_half(word: u32, i: u32, code: u32) -> u32 {
    let shift = 16u * (i % 2u);
    return (word & ~(0xffffu << shift)) | (code << shift);
}
