// State slots in eight bits: blocks of 256 elements with a dynamic code each, and the block's largest
// magnitude, absmax, in f32 (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization").
//
//   code   = nearest of the book to value / absmax
//   value <- book[code] * absmax
//
// First moments have the signed book, second moments the unsigned one: see formats/dynamic.wgsl.

fn scale_of(largest: u32, slot: u32) -> u32 {
    return largest;
}

fn decode_codes(codes: vec4<u32>, scale: f32, slot: u32) -> vec4<f32> {
    return dynamic_decode(codes, u32(is_unsigned(slot))) * scale;
}

fn encode_codes(value: vec4<f32>, scale: u32, slot: u32) -> u32 {
    return dynamic_encode(value, scale, u32(is_unsigned(slot)));
}
