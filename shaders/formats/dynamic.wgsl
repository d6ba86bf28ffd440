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
//
// Codes are counted by magnitude, so that decade i begins at n: in the signed book 0 has the number 0 and
// 1 has 128, in the unsigned one 0 has 1 and 1 has 256. `kind` is 0 for the signed book and 1 for the
// unsigned one: n = 2^(i + kind).
//
// Every integer below is exact in f32, and so is every power of ten.

// value(i, j) = 10^(i - 7) * (9 * number + 4.5 - 8 * n) / n. In the lowest decade that is below 0 at the
// number of 0, and in the highest it is above 1 at that of 1.
fn dynamic_decode(codes: vec4<u32>, kind: u32) -> vec4<f32> {
    let is_unsigned = kind == 1u;
    // In the mantissa of 2^23 a code needs no conversion.
    let code = bitcast<vec4<f32>>(codes | vec4<u32>(0x4b000000u));
    let signed_number = code - select(8388735.0, 8388607.0, is_unsigned);
    let number = abs(signed_number);
    let power_of_two = bitcast<vec4<f32>>(bitcast<vec4<u32>>(number) & vec4<u32>(0x7f800000u));
    let first = select(1.0, 2.0, is_unsigned);
    let n = clamp(power_of_two, vec4<f32>(first), vec4<f32>(64.0 * first));
    // 10^(i - 7) / n is 5^i times its value in decade 0: by the bits of i, which are the lower bits of the
    // exponent of 2^(i + 1).
    let lowest = select(1e-7, 0.5e-7, is_unsigned);
    let i = bitcast<vec4<u32>>(n) + vec4<u32>(select(0x00800000u, 0u, is_unsigned));
    let by_4 = select(vec4<f32>(lowest), vec4<f32>(625.0 * lowest), (i & vec4<u32>(0x02000000u)) != vec4<u32>());
    let by_2 = select(vec4<f32>(1.0), vec4<f32>(25.0), (i & vec4<u32>(0x01000000u)) != vec4<u32>());
    let by_1 = select(vec4<f32>(1.0), vec4<f32>(5.0), (i & vec4<u32>(0x00800000u)) != vec4<u32>());
    let slope = by_4 * (by_2 * by_1);
    let value = clamp((9.0 * number + 4.5 - 8.0 * n) * slope, vec4<f32>(), vec4<f32>(1.0));
    let signs = bitcast<vec4<u32>>(signed_number) & vec4<u32>(0x80000000u);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) | signs);
}

// The decade is found about, the border nearest to the magnitude too, and then one comparison decides,
// of 50 * n * 10^(6 - i) * magnitude with a whole number (of quarters, below 1) times absmax. The first is
// rounded once, the second is subtracted in two parts: so that a code is wrong by no more than the books'
// own rounding and that one, together below 2 ULP of the quotient.
fn dynamic_encode(value: vec4<f32>, absmax_bits: u32, kind: u32) -> vec4<u32> {
    let is_unsigned = kind == 1u;
    // By a power of two into the middle of f32's range, which changes no quotient: absmax to 1 to 4.
    let exponent = min(absmax_bits & 0x7f800000u, 0x7f000000u);
    let shift = bitcast<f32>(max(0x7f000000u - exponent, 0x00800000u));
    let shifted_absmax = bitcast<f32>(absmax_bits) * shift;
    let scale = select(1.0, shifted_absmax, shifted_absmax > 0.0);
    // Nine bits of it, so that the product with a border, of fifteen, is exact.
    let coarse_scale = bitcast<f32>(bitcast<u32>(scale) & 0xffff8000u);
    let shifted = value * shift;

    // What is nearest to 0 counts as a magnitude with the code that it must have. In the signed book
    // 0.25e-6 becomes 0, and what may not become 0 is at least 0.5e-6; in the unsigned one 0 itself
    // counts as 0.05e-6, of a decade below the lowest, and all else is at least 0.25e-6.
    // (What is negative or 0 shows in the bits: the shifted value may have been flushed to 0.)
    let bits = bitcast<vec4<u32>>(value);
    var is_other = (bits == vec4<u32>()) | (bits >= vec4<u32>(0x80000000u));
    var other = 0.05e-6 * scale;
    if (!is_unsigned) {
        is_other = (bits > vec4<u32>(0x80000000u)) | (shifted >= vec4<f32>(0.275e-6 * scale));
        other = 0.5e-6 * scale;
    }
    let least = select(vec4<f32>(0.25e-6 * scale), vec4<f32>(other), is_other);
    let magnitude = max(abs(shifted), least);

    // The decade counted from the highest, by the bits 4, 2, 1 of its number. What is up to 1 % below a
    // decade may be taken for its: the border nearest to that is the decade's lowest.
    let by_4 = magnitude < vec4<f32>(0.99e-4 * scale);
    var factor = select(vec4<f32>(50.0), vec4<f32>(50e4), by_4);
    var n = select(64.0, 128.0, is_unsigned) * select(vec4<f32>(1.0), vec4<f32>(0.0625), by_4);
    let by_2 = magnitude * factor < vec4<f32>(0.495 * scale);
    factor *= select(vec4<f32>(1.0), vec4<f32>(100.0), by_2);
    n *= select(vec4<f32>(1.0), vec4<f32>(0.25), by_2);
    let by_1 = magnitude * factor < vec4<f32>(4.95 * scale);
    factor *= select(vec4<f32>(1.0), vec4<f32>(10.0), by_1);
    n *= select(vec4<f32>(1.0), vec4<f32>(0.5), by_1);

    // The number above the nearest border, about; the border exactly; on which side the magnitude lies.
    let scaled = (magnitude * factor) * n;
    let above = floor(scaled * (0.022222223 / scale) + (0.8888889 * n + 0.5));
    let below_one = vec4<f32>(select(3188.75, 6388.75, is_unsigned));
    let border = min(5.0 * n + max(45.0 * (above - n), vec4<f32>(9.0)), below_one);
    let is_above = scaled - border * coarse_scale >= border * (scale - coarse_scale);
    let number = above - select(vec4<f32>(1.0), vec4<f32>(), is_above);

    // The code, again without a conversion; there is no -1.
    var code = number + 8388607.0;
    if (!is_unsigned) {
        let signs = bitcast<vec4<u32>>(value) & vec4<u32>(0x80000000u);
        let signed_number = bitcast<vec4<f32>>(bitcast<vec4<u32>>(number) | signs);
        code = max(signed_number + 8388735.0, vec4<f32>(8388608.0));
    }
    let not_finite = select(0u, 255u, absmax_bits >= 0x7f800000u);
    return (bitcast<vec4<u32>>(code) & vec4<u32>(0xffu)) | vec4<u32>(not_finite);
}
