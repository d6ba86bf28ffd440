// IEEE 754 binary16, converted on the bits: exact for every code, subnormals, infinities and NaN
// included, whatever the device flushes. (WGSL's pack2x16float is indeterminate for values out of
// range, and its arithmetic may flush subnormals.)
//
//   code = sign 1, exponent 5 (bias 15), mantissa 10
//
// `f16_encode`, to the nearest code, is formats/f16_nearest.wgsl, or f16_nearest_on_bits.wgsl.

fn f16_decode(codes: vec4<u32>) -> vec4<f32> {
    let magnitude = codes & vec4<u32>(0x7fffu);
    // The mantissa moves up by 13 bits, and the exponent's bias grows by 112.
    let normal = (magnitude << vec4<u32>(13u)) + vec4<u32>(112u << 23u);
    let special = (magnitude << vec4<u32>(13u)) + vec4<u32>(224u << 23u);
    // 2^-24 for each unit; normal numbers of f32, so that nothing can be flushed.
    let subnormal = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
    var bits = select(normal, subnormal, magnitude < vec4<u32>(0x400u));
    bits = select(bits, special, magnitude >= vec4<u32>(0x7c00u));
    return bitcast<vec4<f32>>(bits | ((codes & vec4<u32>(0x8000u)) << vec4<u32>(16u)));
}

// The bits of a magnitude, the last of them worth a unit of f16 after `shift` are dropped.
struct F16Fraction {
    value: vec4<u32>,
    shift: vec4<u32>,
}

fn f16_fraction(magnitude: vec4<u32>) -> F16Fraction {
    let exponent = magnitude >> vec4<u32>(23u);
    let mantissa = (magnitude & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    // Below 2^-14 the unit stays 2^-24, so that smaller exponents drop more bits, in the end all.
    let is_normal = exponent >= vec4<u32>(113u);
    let dropped = vec4<u32>(126u) - min(exponent, vec4<u32>(112u));
    let shift = min(dropped, vec4<u32>(31u));
    let subnormal = mantissa >> min(dropped - shift, vec4<u32>(31u));
    return F16Fraction(
        select(subnormal, magnitude - vec4<u32>(112u << 23u), is_normal),
        select(shift, vec4<u32>(13u), is_normal),
    );
}

// The code of a rounded magnitude: infinite from 65536 on; a NaN stays one, and becomes quiet.
fn f16_code(bits: vec4<u32>, rounded: vec4<u32>) -> vec4<u32> {
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    var code = select(rounded, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x47800000u));
    let nan = vec4<u32>(0x7e00u) | ((magnitude >> vec4<u32>(13u)) & vec4<u32>(0x3ffu));
    code = select(code, nan, magnitude > vec4<u32>(0x7f800000u));
    return code | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}

// Away from zero with the probability of the part that is dropped, else towards zero. The upper bits
// of `random` count, which are the better ones of most generators.
fn f16_encode_stochastic(value: vec4<f32>, random: vec4<u32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let exact = f16_fraction(bits & vec4<u32>(0x7fffffffu));
    let dither = random >> (vec4<u32>(32u) - exact.shift);
    return f16_code(bits, (exact.value + dither) >> exact.shift);
}
