// e4m3: to the nearest code, by integers alone: the codes of e4m3_nearest.wgsl, however a device rounds sums.

// To the nearest code, ties to the even one; beyond 448 to 448. A NaN stays one.
fn e4m3_encode(value: vec4<f32>) -> vec4<u32> {
    let sign = (bitcast<vec4<u32>>(value) >> vec4<u32>(24u)) & vec4<u32>(0x80u);
    let bits = bitcast<vec4<u32>>(value) & vec4<u32>(0x7fffffffu);
    let odd = (bits >> vec4<u32>(20u)) & vec4<u32>(1u);
    let rounded = (bits + vec4<u32>(0x7ffffu) + odd) >> vec4<u32>(20u);
    let normal = min(rounded - vec4<u32>(120u << 3u), vec4<u32>(0x7eu));
    // Below 2^-6 the unit stays 2^-9: smaller exponents drop more bits, in the end all.
    let shift = vec4<u32>(141u) - min(max(bits >> vec4<u32>(23u), vec4<u32>(116u)), vec4<u32>(120u));
    let mantissa = (bits & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let is_odd = (mantissa >> shift) & vec4<u32>(1u);
    let half = vec4<u32>(1u) << (shift - vec4<u32>(1u));
    let subnormal = (mantissa + (half - vec4<u32>(1u)) + is_odd) >> shift;
    var code = select(normal, subnormal, bits < vec4<u32>(0x3c800000u));
    code = select(code, vec4<u32>(0x7fu), bits > vec4<u32>(0x7f800000u));
    return code | sign;
}
