// State slots in four bits: blocks of 128 elements with a code of 16 each, and the block's largest
// magnitude, absmax, in f32 (Li et al. 2023, "Memory Efficient Optimizers with 4-bit States"; the maps
// are torchao's).
//
//   code   = nearest of the map to value / absmax
//   value <- map[code] * absmax
//
// First moments have the signed map, second moments the unsigned one: see formats/nibble.wgsl.

fn scale_of(largest: u32, slot: u32) -> u32 {
    return largest;
}

fn decode_codes(codes: vec4<u32>, scale: f32, slot: u32) -> vec4<f32> {
    return nibble_decode(codes, is_unsigned(slot)) * scale;
}

fn encode_codes(value: vec4<f32>, scale: u32, slot: u32) -> u32 {
    return pack_nibbles(nibble_encode(value, scale, is_unsigned(slot)));
}
