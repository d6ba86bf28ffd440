// State slots in eight companded bits: blocks of 32 elements with an integer each, and a scale in bf16
// (FlashOptim, 2026, arXiv:2602.23349).
//
//   first moments    scale = absmax           code = round(127 * y),  y = 2 n / (1 + |n|),  n = m / scale
//                    m <- n * scale,          n = y / (2 - |y|),  y = code / 127
//   second moments   scale = sqrt(absmax)     code = round(255 * sqrt(v) / scale)
//                    v <- (code / 255 * scale)^2
//
// Companding spends codes where moments are: many small ones beside few large ones. The scale is rounded
// up, and values are divided by what it was rounded to, so that its rounding costs no accuracy.
// (FlashOptim keeps it in f16, which takes first moments below 6e-8 for 0.) A second moment above 0
// never becomes 0: an update would be m / eps.

fn scale_of(largest: u32, slot: u32) -> u32 {
    if (largest >= 0x7f800000u) {
        // A NaN stays one in the upper half.
        return select(largest, largest | 0x400000u, largest > 0x7f800000u);
    }
    let value = bitcast<f32>(largest);
    let bits = bitcast<u32>(select(value, sqrt(value), is_unsigned(slot)));
    // The largest of which the value, or the square, is finite.
    return min((bits + 0xffffu) & 0xffff0000u, select(0x7f7f0000u, 0x5f7f0000u, is_unsigned(slot)));
}

fn decode_codes(codes: vec4<u32>, scale: f32, slot: u32) -> vec4<f32> {
    if (is_unsigned(slot)) {
        return square_decode(codes, scale);
    }
    return softsign_decode(codes) * scale;
}

fn encode_codes(value: vec4<f32>, scale: u32, slot: u32) -> u32 {
    let is_finite = scale < 0x7f800000u;
    let by = bitcast<f32>(select(0x3f800000u, scale, is_finite && scale != 0u));
    if (is_unsigned(slot)) {
        return select(0xffffffffu, pack_bytes(square_encode(value, by)), is_finite);
    }
    return select(0x7f7f7f7fu, pack_bytes(softsign_encode(value / by)), is_finite);
}
