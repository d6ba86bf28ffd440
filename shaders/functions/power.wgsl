// t^exponent for a normal number t > 0, to a relative error below 5e-7; 0 where it is below 2^-126. It must be below 2^127.
//
// WGSL's own pow is inexact: exp2(exponent * log2(t)) loses as many bits as the product is large. Here
// t = 2^k m with m in [sqrt(1/2), sqrt(2)], and log2(t^exponent) = k exponent + exponent log2(m), of which
// only the second, at most half of the exponent, is rounded: the exponent is given as exponent_hi + exponent_lo,
// the first with so few bits (12) that its product with k is exact, and the whole number nearest to the sum
// is taken off before anything is added.
//
// ln m = 2 atanh(s) with s = (m - 1) / (m + 1), at most 0.172: the series' first omitted term, s^11 / 11, is below
// 3e-9 of s. e^x is the Taylor series to x^7 for |x| <= ln 2 / 2; its first omitted term is below 6e-9.

fn power(t: f32, exponent_hi: f32, exponent_lo: f32) -> f32 {
    let bits = bitcast<u32>(t);
    var k = f32(i32(bits >> 23u) - 127);
    var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
    if (m > 1.41421356) {
        m *= 0.5;
        k += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    var series = 1.0 / 9.0;
    series = series * s2 + 1.0 / 7.0;
    series = series * s2 + 1.0 / 5.0;
    series = series * s2 + 1.0 / 3.0;
    let log2_m = 2.885390081777927 * (s + s * s2 * series);
    let rest = k * exponent_lo + (exponent_hi + exponent_lo) * log2_m;
    let whole = round(k * exponent_hi + rest);
    if (whole < -126.0) {
        return 0.0;
    }
    let x = ((k * exponent_hi - whole) + rest) * 0.6931471805599453;
    var tail = 1.0 / 5040.0;
    tail = tail * x + 1.0 / 720.0;
    tail = tail * x + 1.0 / 120.0;
    tail = tail * x + 1.0 / 24.0;
    tail = tail * x + 1.0 / 6.0;
    tail = tail * x + 0.5;
    // 2^whole from its bits: whole is between -126 and 127.
    return bitcast<f32>(u32(i32(whole) + 127) << 23u) * (1.0 + (x + x * x * tail));
}
