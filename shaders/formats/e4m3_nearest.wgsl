// e4m3: to the nearest code, where the device rounds sums to nearest and ties to even. WGSL promises no more than one of
// the two nearest; `fallline check` tells what a device does. Elsewhere: e4m3_nearest_on_bits.wgsl.

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
