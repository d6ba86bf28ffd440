// e4m3: to the nearest code, by integers alone: the codes of e4m3_nearest.wgsl, however a device rounds sums.

// To the nearest code, ties to the even one; beyond 448 to 448. A NaN stays one.
fn e4m3_encode(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value) & vec4<u32>(0x7fffffffu);
    let exponent = bits >> vec4<u32>(23u);
    let mantissa = (bits & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    // Below 2^-6 the unit stays 2^-9: smaller exponents drop more bits, in the end all.
    let is_normal = exponent >= vec4<u32>(121u);
    let dropped = vec4<u32>(141u) - clamp(exponent, vec4<u32>(116u), vec4<u32>(120u));
    let shift = select(dropped, vec4<u32>(20u), is_normal);
    let exact = select(mantissa, bits - vec4<u32>(120u << 23u), is_normal);
    let half = vec4<u32>(1u) << (shift - vec4<u32>(1u));
    let odd = (exact >> shift) & vec4<u32>(1u);
    var code = min((exact + (half - vec4<u32>(1u)) + odd) >> shift, vec4<u32>(0x7eu));
    code = select(code, vec4<u32>(0x7fu), bits > vec4<u32>(0x7f800000u));
    return code | ((bitcast<vec4<u32>>(value) >> vec4<u32>(24u)) & vec4<u32>(0x80u));
}
