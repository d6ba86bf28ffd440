// bfloat16, the upper half of an f32; converted on the bits.

fn bf16_decode(codes: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(codes << vec4<u32>(16u));
}

// A NaN stays one, and becomes quiet.
fn bf16_code(bits: vec4<u32>, rounded: vec4<u32>) -> vec4<u32> {
    let nan = (bits >> vec4<u32>(16u)) | vec4<u32>(0x40u);
    let is_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(rounded >> vec4<u32>(16u), nan, is_nan);
}

// To the nearest code, ties to the even one.
fn bf16_encode(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let odd = (bits >> vec4<u32>(16u)) & vec4<u32>(1u);
    return bf16_code(bits, bits + vec4<u32>(0x7fffu) + odd);
}

// Away from zero with the probability of the part that is dropped, else towards zero. The upper bits
// of `random` count, which are the better ones of most generators.
fn bf16_encode_stochastic(value: vec4<f32>, random: vec4<u32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    return bf16_code(bits, bits + (random >> vec4<u32>(16u)));
}
