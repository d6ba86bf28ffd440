// e4m3, the fp8 with 4 bits of exponent and 3 of mantissa (Micikevicius et al. 2022, "FP8 Formats for Deep
// Learning"; torch's `float8_e4m3fn`): the largest number is 448, codes 0x7f and 0xff are NaN, there is
// no infinity. Converted on the bits.

fn e4m3_decode(codes: vec4<u32>) -> vec4<f32> {
    let sign = (codes & vec4<u32>(0x80u)) << vec4<u32>(24u);
    let magnitude = codes & vec4<u32>(0x7fu);
    let normal = (magnitude << vec4<u32>(20u)) + vec4<u32>(120u << 23u);
    // Below 2^-6, multiples of 2^-9: as those above 2^-6, and 2^-6 less.
    let above = bitcast<vec4<f32>>((magnitude << vec4<u32>(20u)) + vec4<u32>(121u << 23u));
    let subnormal = bitcast<vec4<u32>>(above - 0x1p-6);
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
    // Below 2^-6 an addition rounds: the last bit of 2^14 is worth 2^-9.
    let subnormal = bitcast<vec4<u32>>(bitcast<vec4<f32>>(bits) + 0x1p+14) - vec4<u32>(0x46800000u);
    var code = select(normal, subnormal, bits < vec4<u32>(0x3c800000u));
    code = select(code, vec4<u32>(0x7fu), bits > vec4<u32>(0x7f800000u));
    return code | sign;
}
