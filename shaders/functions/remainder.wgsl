// A bf16 and what it lacks of an f32, on the bits: see precision/remainder.wgsl.

// The nearest bf16 code, ties away from zero.
fn round_away(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    return bf16_code(bits, bits + vec4<u32>(0x8000u));
}

fn remainder_of(value: vec4<f32>, code: vec4<u32>) -> vec4<u32> {
    let lower = bitcast<vec4<u32>>(value) - (code << vec4<u32>(16u));
    let is_nan = (code & vec4<u32>(0x7fffu)) > vec4<u32>(0x7f80u);
    return select(lower & vec4<u32>(0xffffu), vec4<u32>(), is_nan);
}

fn join_remainder(code: vec4<u32>, remainder: vec4<u32>) -> vec4<f32> {
    // From 16 bits to a signed number.
    let signed = bitcast<vec4<i32>>(remainder << vec4<u32>(16u)) >> vec4<u32>(16u);
    let magnitude = bitcast<vec4<i32>>((code & vec4<u32>(0x7fffu)) << vec4<u32>(16u)) + signed;
    let is_infinite = (code & vec4<u32>(0x7fffu)) == vec4<u32>(0x7f80u);
    let most = select(vec4<i32>(0x7fffffff), vec4<i32>(0x7f800000), is_infinite);
    let sign = (code & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    return bitcast<vec4<f32>>(sign | bitcast<vec4<u32>>(clamp(magnitude, vec4<i32>(), most)));
}
