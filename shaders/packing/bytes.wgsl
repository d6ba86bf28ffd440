// Four codes of 8 bits in a u32, the earlier element in the lower bits.

fn unpack_bytes(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
}

fn pack_bytes(codes: vec4<u32>) -> u32 {
    let shifted = codes << vec4<u32>(0u, 8u, 16u, 24u);
    return (shifted.x | shifted.y) | (shifted.z | shifted.w);
}
