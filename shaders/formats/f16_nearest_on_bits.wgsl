// f16: to the nearest code, ties to the even one, by integers alone: the codes of f16_nearest.wgsl, however a device
// rounds sums.

fn f16_encode(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let exact = f16_fraction(bits & vec4<u32>(0x7fffffffu));
    let half = vec4<u32>(1u) << (exact.shift - vec4<u32>(1u));
    let odd = (exact.value >> exact.shift) & vec4<u32>(1u);
    return f16_code(bits, (exact.value + (half - vec4<u32>(1u)) + odd) >> exact.shift);
}
