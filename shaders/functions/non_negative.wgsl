// A value, or 0 if it is negative: what rounding makes of a difference that cannot be. NaN of either sign
// stays; WGSL's own `max` may give 0 for it. Compared by the bits, which are above that of -0 for all of
// these and above that of -infinity for NaN.

fn non_negative(value: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(value);
    let is_negative = (bits > vec4<u32>(0x80000000u)) & (bits <= vec4<u32>(0xff800000u));
    return select(value, vec4<f32>(), is_negative);
}
