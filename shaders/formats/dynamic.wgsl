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

// Of an AdamW step with two such slots these conversions are three quarters, and on GPUs with wide memory
// the step takes as long as its arithmetic. So instructions count here: an element takes 15 (16 if signed) to
// decode and 28 (33) to encode on navi21, where a decade by choices and a border in its formula's own
// terms would take 21 (22) and 37 (39). What each trick saves is of these. (A table in workgroup memory
// would save most of the decoding there; without a GPU's memory it takes 1.7 times as long, and on SwiftShader
// twenty times: benches/README.md.)

// value(i, j) = 10^(i - 7) * (9 * number + 4.5 - 8 * n) / n. In the lowest decade that is below 0 at the
// number of 0, and in the highest it is above 1 at that of 1.
fn dynamic_decode(codes: vec4<u32>, kind: u32) -> vec4<f32> {
    let is_unsigned = kind == 1u;
    // In the mantissa of 2^23 a code needs no conversion, and in that of 2^24 it counts twice: the unsigned
    // number and twice the signed one have the same power of two, 2^(i + 1).
    let code = bitcast<vec4<f32>>(codes | vec4<u32>(select(0x4b800000u, 0x4b000000u, is_unsigned)));
    let number = code - select(16777470.0, 8388607.0, is_unsigned);
    // Its exponent has one bit and in the last three i. The number of 0 has other bits: the one with which
    // it counts as i = 0 (signed) or i = 7, and lies below 0 in either. (2, where a mask and a maximum are 3.)
    let bits = (bitcast<vec4<u32>>(number) & vec4<u32>(0x03800000u)) | vec4<u32>(0x40000000u);
    let power_of_two = bitcast<vec4<f32>>(bits);
    let above = abs(number) * select(4.5, 9.0, is_unsigned) + 4.5 - select(4.0, 8.0, is_unsigned) * power_of_two;
    // 10^(i - 7) / n is 5^i times its value in decade 0. With the last bit of i alone the power is 2 or 4, with the
    // second 2 or 8: a product and a sum make 1 or 5 of these, and 1 or 25. (2 each; a choice by a bit is 3.)
    let lowest = select(1e-7, 0.5e-7, is_unsigned);
    let by_4 = select(vec4<f32>(lowest), vec4<f32>(625.0 * lowest), power_of_two >= vec4<f32>(32.0));
    let by_2 = bitcast<vec4<f32>>(bits & vec4<u32>(0x41000000u)) * 4.0 - 7.0;
    let by_1 = bitcast<vec4<f32>>(bits & vec4<u32>(0x40800000u)) * 2.0 - 3.0;
    let slope = by_4 * (by_2 * by_1);
    let value = clamp(above * slope, vec4<f32>(), vec4<f32>(1.0));
    if (is_unsigned) {
        return value;
    }
    let signs = bitcast<vec4<u32>>(number) & vec4<u32>(0x80000000u);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) | signs);
}

// Four codes, packed. The decade is found about, the border nearest to the magnitude too, and then one
// comparison decides, of 50 * n * 10^(6 - i) * magnitude with a whole number (of quarters, below 1) times
// absmax. The first is rounded once, the second is subtracted in two parts: so that a code is wrong by no more
// than the books' own rounding and that one, together below 2 ULP of the quotient.
fn dynamic_encode(value: vec4<f32>, absmax_bits: u32, kind: u32) -> u32 {
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
    // 0.25e-6 becomes 0, and what may not become 0 is at least 0.5e-6; in the unsigned one 0.15e-6 becomes 0,
    // and all but 0 (and what is below) is at least 0.25e-6.
    // (What is negative or 0 shows in the bits: the shifted value may have been flushed to 0.)
    var is_other = bitcast<vec4<i32>>(value) <= vec4<i32>();
    var other = 0.15e-6 * scale;
    if (!is_unsigned) {
        let is_negative = bitcast<vec4<u32>>(value) > vec4<u32>(0x80000000u);
        is_other = is_negative | (shifted >= vec4<f32>(0.275e-6 * scale));
        other = 0.5e-6 * scale;
    }
    let least = select(vec4<f32>(0.25e-6 * scale), vec4<f32>(other), is_other);
    let magnitude = max(abs(shifted), least);

    // The decade counted from the highest, by the bits 4, 2, 1 of its number. What is up to 1 % below a
    // decade may be taken for its: the border nearest to that is the decade's lowest. (The magnitude is compared
    // with edges that are chosen, 2 for each: to bring it up to one edge takes a product for it, and one for n.)
    let by_4 = magnitude < vec4<f32>(0.99e-4 * scale);
    let edge_2 = select(vec4<f32>(0.99e-2 * scale), vec4<f32>(0.99e-6 * scale), by_4);
    let by_2 = magnitude < edge_2;
    let by_1 = magnitude < edge_2 * select(vec4<f32>(10.0), vec4<f32>(0.1), by_2);
    // 50 * n * 10^(6 - i), which is 5 times as much in the next decade.
    let first = select(3200.0, 6400.0, is_unsigned);
    var factor = select(vec4<f32>(first), vec4<f32>(625.0 * first), by_4);
    factor *= select(vec4<f32>(1.0), vec4<f32>(25.0), by_2);
    factor *= select(vec4<f32>(1.0), vec4<f32>(5.0), by_1);
    // While that grows by 5 = 2^2.32, n halves: half of what the factor's bits grow by, the exponent above the
    // mantissa, is 1.16 or so, and in all seven decades the whole part of it is right. Its mantissa gives way to
    // that of 5. (3, or 4 where a mask and bits are two; n by three choices is 5, and 5 n one more.)
    let falls = bitcast<vec4<u32>>(factor) >> vec4<u32>(1u);
    let four_n = vec4<u32>(select(0x66a20000u, 0x67620000u, is_unsigned)) - falls;
    let five_n = bitcast<vec4<f32>>((four_n & vec4<u32>(0x7f800000u)) | vec4<u32>(0x00200000u));

    // The number above the nearest border, about: half a number off, it is one of the two that the magnitude lies
    // between. The border exactly; on which side of it the magnitude lies. A ninth of what the border is above 5 n is
    // a whole multiple of 5, but 1 instead of 0, and less by 1.25 below the code of 1. (These two bounds are one
    // instruction where a median of three is.)
    let scaled = magnitude * factor;
    let above = round(scaled * (0.022222223 / scale) + 0.17777778 * five_n);
    let below_one = vec4<f32>(select(318.75, 638.75, is_unsigned));
    let border = five_n + 9.0 * clamp(5.0 * above - five_n, vec4<f32>(1.0), below_one);
    let is_above = scaled - border * coarse_scale >= border * (scale - coarse_scale);

    // The codes, again without a conversion: each a byte, and above it the exponent of 2^23; there is no -1.
    var codes: vec4<u32>;
    if (is_unsigned) {
        codes = bitcast<vec4<u32>>(above + 8388607.0) - select(vec4<u32>(1u), vec4<u32>(), is_above);
    } else {
        let number = above - select(vec4<f32>(1.0), vec4<f32>(), is_above);
        let signs = bitcast<vec4<u32>>(value) & vec4<u32>(0x80000000u);
        let signed_number = bitcast<vec4<f32>>(bitcast<vec4<u32>>(number) | signs);
        codes = bitcast<vec4<u32>>(max(signed_number + 8388735.0, vec4<f32>(8388608.0)));
    }
    // Shifts take that exponent off, from all but the first. (A value that does not exist may be any number, and have
    // other bits: such come last, and change no code before them.)
    let word = (codes.x & 0xffu) | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
    return word | select(0u, 0xffffffffu, absmax_bits >= 0x7f800000u);
}
