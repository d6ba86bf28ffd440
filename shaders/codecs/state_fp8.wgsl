// State slots in fp8: blocks of 256 elements with an e4m3 number each, and a scale in f32 that brings
// the block's largest magnitude to 448, the largest such number (as torchao's `OptimStateFp8`).
//
//   scale  = absmax / 448
//   code   = nearest e4m3 to value / scale
//   value <- e4m3 * scale
//
// A second moment above 0 never becomes 0, but the smallest number: an update would be m / eps. Where
// the scale is below the range of f32 (absmax below 6e-36), the block may become 0.

fn scale_of(largest: u32, slot: u32) -> u32 {
    // At most what 448 times is finite, however inexact the quotient is.
    let scale = min(bitcast<u32>(bitcast<f32>(largest) / 448.0), 0x7b124924u);
    return select(largest, scale, largest < 0x7f800000u);
}

fn decode_codes(codes: vec4<u32>, scale: f32, slot: u32) -> vec4<f32> {
    return e4m3_decode(codes) * scale;
}

fn encode_codes(value: vec4<f32>, scale: u32, slot: u32) -> u32 {
    if (scale >= 0x7f800000u) {
        return 0x7f7f7f7fu;
    }
    if (bitcast<f32>(scale) == 0.0) {
        return 0u;
    }
    let codes = e4m3_encode(value / bitcast<f32>(scale));
    return pack_bytes(select(codes, max(codes, vec4<u32>(1u)), vec4<bool>(is_unsigned(slot)) & (value > vec4<f32>())));
}
