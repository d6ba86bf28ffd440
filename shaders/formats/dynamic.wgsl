// The dynamic code books of block-wise 8-bit states (Dettmers et al. 2022, "8-bit Optimizers via
// Block-wise Quantization"; bitsandbytes' `create_dynamic_map`), by arithmetic instead of tables.
//
// In decade i = 0 to 6, from 10^(i - 7) to 10^(i - 6), lie n evenly spaced codes, n = 2^i in the signed
// book and 2^(i + 1) in the unsigned one:
//
//   value(i, j) = 10^(i - 6) * (0.1 + 0.9 * (j + 1/2) / n),   j = 0 to n - 1
//
// and besides 0 and 1. In the signed book code 127 is 0, 128 upwards are the positive values, 255 is 1,
// and 126 downwards are the negative ones (there is no -1); in the unsigned one 0 is 0, 255 is 1.
//
// Encoding gives the code nearest to value / absmax. In the middle between two neighbours lie
//
//   10^(i - 6) * (0.1 + 0.9 * j / n)      below j > 0 of decade i
//   10^(i - 6) * (0.1 + 0.18 / n)         below decade i > 0
//   value(0, 0) / 2  and  1 - 0.225 / n   above 0, and below 1
//
// and what lies in the middle goes to the code of the larger magnitude. Magnitudes are compared with
// these borders times absmax: no division blurs the decision. A negative value never becomes 0, but the
// nearest negative code (bitsandbytes' sign rule). Nor does a positive one in the unsigned book, whose
// smallest code it gets: a second moment of 0 beside a first moment that is not makes an update of
// m / eps. (bitsandbytes rounds to 0 here.) Of a block whose absmax is not finite every code is 1.

// `kind` is 0 for the signed book and 1 for the unsigned one: the codes of decade i are 2^(i + kind).

fn dynamic_decode(codes: vec4<u32>, kind: u32) -> vec4<f32> {
    let is_unsigned = vec4<bool>(kind == 1u);
    let is_negative = !is_unsigned & (codes < vec4<u32>(127u));
    // Counted from the smallest positive code, 0; what is not a code of a decade is put right below.
    let upward = codes - select(vec4<u32>(128u), vec4<u32>(1u), is_unsigned);
    let number = select(upward, vec4<u32>(126u) - codes, is_negative);
    let zero = codes == select(vec4<u32>(127u), vec4<u32>(), is_unsigned);
    // number + 2^kind = n + j, of which a float has log2(n) as exponent and j / n as mantissa.
    let bits = bitcast<vec4<u32>>(vec4<f32>((number & vec4<u32>(0xffu)) + vec4<u32>(1u << kind)));
    let exponent = (bits >> vec4<u32>(23u)) - vec4<u32>(127u);
    let share = bitcast<vec4<f32>>((bits & vec4<u32>(0x7fffffu)) | vec4<u32>(0x3f800000u)) - 1.0;
    let half = bitcast<vec4<f32>>((vec4<u32>(126u) - exponent) << vec4<u32>(23u));
    let unit = decade_unit(exponent - vec4<u32>(kind));
    var value = unit * (vec4<f32>(0.1) + 0.9 * (share + half));
    value = select(value, vec4<f32>(1.0), codes == vec4<u32>(255u));
    value = select(value, vec4<f32>(), zero);
    return select(value, -value, is_negative);
}

// 10^(i - 6)
fn decade_unit(i: vec4<u32>) -> vec4<f32> {
    var unit = select(vec4<f32>(1e-6), vec4<f32>(1e-5), i == vec4<u32>(1u));
    unit = select(unit, vec4<f32>(1e-4), i == vec4<u32>(2u));
    unit = select(unit, vec4<f32>(1e-3), i == vec4<u32>(3u));
    unit = select(unit, vec4<f32>(1e-2), i == vec4<u32>(4u));
    unit = select(unit, vec4<f32>(1e-1), i == vec4<u32>(5u));
    return select(unit, vec4<f32>(1.0), i >= vec4<u32>(6u));
}

// The border below decade i: 10^(i - 6) * (0.1 + 0.18 / n).
fn decade_border(i: u32, unit: f32, kind: u32) -> f32 {
    return unit * (0.1 + 0.18 * bitcast<f32>((127u - i - kind) << 23u));
}

fn dynamic_encode(value: vec4<f32>, absmax: f32, kind: u32) -> vec4<u32> {
    let signs = bitcast<vec4<u32>>(value) >> vec4<u32>(31u);
    // Into the middle of f32's range, which changes no quotient.
    var shift = select(1.0, 0x1p+64, absmax < 0x1p-60);
    shift = select(shift, 0x1p-64, absmax > 0x1p+60);
    let magnitude = abs(value) * shift;
    let scale = absmax * shift;

    // The decade.
    var i = vec4<u32>();
    var unit = vec4<f32>(1e-6);
    for (var next = 1u; next <= 6u; next++) {
        let next_unit = decade_unit(vec4<u32>(next)).x;
        let above = magnitude >= vec4<f32>(decade_border(next, next_unit, kind) * scale);
        i = select(i, vec4<u32>(next), above);
        unit = select(unit, vec4<f32>(next_unit), above);
    }
    // The place in the decade: about, then exactly.
    let exponent = i + vec4<u32>(kind);
    let n = bitcast<vec4<f32>>((vec4<u32>(127u) + exponent) << vec4<u32>(23u));
    let one_by_n = bitcast<vec4<f32>>((vec4<u32>(127u) - exponent) << vec4<u32>(23u));
    let scaled_unit = unit * scale;
    let about = (magnitude / scaled_unit - 0.1) * (n * 1.1111112);
    var j = clamp(floor(about), vec4<f32>(), n - 1.0);
    let below = scaled_unit * (vec4<f32>(0.1) + 0.9 * (j * one_by_n));
    let above = scaled_unit * (vec4<f32>(0.1) + 0.9 * ((j + 1.0) * one_by_n));
    j = select(j, j + 1.0, (magnitude >= above) & (j + 1.0 < n));
    j = select(j, j - 1.0, (magnitude < below) & (j > vec4<f32>()));

    let number = vec4<u32>(n + j) - vec4<u32>(1u << kind);
    let is_zero = magnitude < vec4<f32>(select(0.275e-6, 0.1625e-6, kind == 1u) * scale);
    let is_one = magnitude >= vec4<f32>((1.0 - select(0.225 / 64.0, 0.225 / 128.0, kind == 1u)) * scale);
    let is_unsigned = vec4<bool>(kind == 1u);
    let is_negative = !is_unsigned & (signs == vec4<u32>(1u)) & (magnitude > vec4<f32>());
    let none = select(vec4<u32>(127u), vec4<u32>(), is_unsigned);
    var codes = number + none + vec4<u32>(1u);
    codes = select(codes, vec4<u32>(255u), is_one);
    let smallest = select(none, vec4<u32>(1u), is_unsigned & (magnitude > vec4<f32>()));
    codes = select(codes, smallest, is_zero);
    let negative = vec4<u32>(126u) - min(number, vec4<u32>(126u));
    codes = select(codes, select(negative, vec4<u32>(126u), is_zero), is_negative);
    let is_finite = bitcast<u32>(absmax) < 0x7f800000u;
    return select(vec4<u32>(255u), select(none, codes, vec4<bool>(absmax > 0.0)), vec4<bool>(is_finite));
}
