// The larger of two numbers that are not negative, and NaN if one of them is: torch.maximum. WGSL's own
// `max` may give the other operand. Compared by their bits, which are in the order of the numbers, with
// NaN of either sign above all.

fn max_magnitude(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(max(bitcast<vec4<u32>>(a), bitcast<vec4<u32>>(b)));
}
