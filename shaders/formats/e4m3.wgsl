// e4m3, the fp8 with 4 bits of exponent and 3 of mantissa (Micikevicius et al. 2022, "FP8 Formats for Deep
// Learning"; torch's `float8_e4m3fn`): the largest number is 448, codes 0x7f and 0xff are NaN, there is
// no infinity. Converted on the bits.

fn e4m3_decode(codes: vec4<u32>) -> vec4<f32> {
    let sign = (codes & vec4<u32>(0x80u)) << vec4<u32>(24u);
    let magnitude = codes & vec4<u32>(0x7fu);
    let normal = (magnitude << vec4<u32>(20u)) + vec4<u32>(120u << 23u);
    // Below 2^-6, multiples of 2^-9.
    let subnormal = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 0x1p-9);
    var bits = select(normal, subnormal, magnitude < vec4<u32>(8u));
    bits = select(bits, vec4<u32>(0x7fc00000u), magnitude == vec4<u32>(0x7fu));
    return bitcast<vec4<f32>>(bits | sign);
}

// To the nearest code, ties to the even one; beyond 448 to 448. A NaN stays one.
fn e4m3_encode(value: vec4<f32>) -> vec4<u32> {
    let sign = (bitcast<vec4<u32>>(value) >> vec4<u32>(24u)) & vec4<u32>(0x80u);
    let bits = bitcast<vec4<u32>>(value) & vec4<u32>(0x7fffffffu);
    let odd = (bits >> vec4<u32>(20u)) & vec4<u32>(1u);
    let rounded = (bits + vec4<u32>(0x7ffffu) + odd) >> vec4<u32>(20u);
    let normal = min(rounded - vec4<u32>(120u << 3u), vec4<u32>(0x7eu));
    // Below 2^-6, multiples of 2^-9.
    let scaled = min(bitcast<vec4<f32>>(bits), vec4<f32>(1.0)) * 512.0;
    let lower = floor(scaled);
    let rest = scaled - lower;
    let half = vec4<f32>(0.5);
    let up = (rest > half) | ((rest == half) & ((vec4<u32>(lower) & vec4<u32>(1u)) == vec4<u32>(1u)));
    let subnormal = vec4<u32>(lower) + select(vec4<u32>(), vec4<u32>(1u), up);
    var code = select(normal, subnormal, bits < vec4<u32>(0x3c800000u));
    code = select(code, vec4<u32>(0x7fu), bits > vec4<u32>(0x7f800000u));
    return code | sign;
}
