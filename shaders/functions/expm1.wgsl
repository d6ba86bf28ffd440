// expm1(x) = e^x - 1 for x <= 0, to a relative error below 2e-7, also where e^x is close to 1.
//
// WGSL's own exp and pow are no help: exp(x) - 1 cancels for small x, and pow is inexact (with it,
// 1 - 0.999^t is wrong in the fourth digit at small t). Here x = k ln 2 + r with |r| <= ln 2 / 2, a
// polynomial gives expm1(r), and expm1(x) = 2^k expm1(r) + (2^k - 1), where 2^k - 1 is exact.
//
// The polynomial is the Taylor series to r^8; its first omitted term is below 3e-10 of r.

fn expm1(x: f32) -> f32 {
    if (x < -25.0) {
        return -1.0;
    }
    let k = round(x * 1.4426950408889634);
    // ln 2 in two parts, so that k * ln 2 is as good as exact.
    let r = (x - k * 0.693145751953125) - k * 1.4286068203094173e-6;
    var tail = 1.0 / 40320.0;
    tail = tail * r + 1.0 / 5040.0;
    tail = tail * r + 1.0 / 720.0;
    tail = tail * r + 1.0 / 120.0;
    tail = tail * r + 1.0 / 24.0;
    tail = tail * r + 1.0 / 6.0;
    tail = tail * r + 0.5;
    let expm1_r = r + r * r * tail;
    // 2^k from its bits: k is between -36 and 0.
    let power = bitcast<f32>(u32(i32(k) + 127) << 23u);
    return power * expm1_r + (power - 1.0);
}

// 1 - beta^t, from ln beta: within a relative 5e-7 for every t up to 2^24 and beta up to 0.9999.

fn bias_correction(t: f32, ln_beta: f32) -> f32 {
    return -expm1(t * ln_beta);
}
