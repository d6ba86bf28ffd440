// e4m3, the fp8 with 4 bits of exponent and 3 of mantissa (Micikevicius et al. 2022, "FP8 Formats for Deep
// Learning"; torch's `float8_e4m3fn`): the largest number is 448, codes 0x7f and 0xff are NaN, there is
// no infinity. Converted on the bits.
//
// `e4m3_encode` is formats/e4m3_nearest.wgsl, or e4m3_nearest_on_bits.wgsl.

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
