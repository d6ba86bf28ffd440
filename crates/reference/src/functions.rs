//! Twins of `shaders/functions`.

use std::ops::{Add, Mul};

/// `functions/expm1.wgsl`, operation by operation: `e^x - 1` for `x <= 0`.
#[must_use]
pub fn expm1(x: f32) -> f32 {
    if x < -25.0 {
        return -1.0;
    }
    let k = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (x - k * 0.693_145_75) - k * 1.428_606_8e-6;
    let mut tail = 1.0 / 40320.0;
    for coefficient in [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        tail = tail * r + coefficient;
    }
    let expm1_r = r + r * r * tail;
    let power = k.exp2();
    power * expm1_r + (power - 1.0)
}

/// `functions/expm1.wgsl`: `1 - β^t`, from a rounded ln β.
#[must_use]
pub fn bias_correction(t: u32, beta: f64) -> f32 {
    let ln_beta = beta.ln().max(-10_000.0) as f32;
    -expm1(t as f32 * ln_beta)
}

/// `1 - β^t` without cancellation.
#[must_use]
pub fn exact_bias_correction(t: u32, beta: f64) -> f64 {
    -(f64::from(t) * beta.ln()).exp_m1()
}

/// `functions/rectification.wgsl`: ρ, from a rounded ln β2 and ρ∞.
#[must_use]
pub fn rectified_length(t: u32, beta2: f64) -> f32 {
    let (elapsed, x) = (t as f32, -(beta2.ln().max(-10_000.0)) as f32);
    let y = elapsed * x;
    if y > 2.0 {
        let length = (2.0 / (1.0 - beta2) - 1.0) as f32;
        return length - 2.0 * elapsed * (-y).exp() / bias_correction(t, beta2);
    }
    let series = |y2: f32| {
        let mut series = (-3617.0 / 10_670_622_842_880_000.0) as f32;
        for coefficient in [
            1.0 / 74_724_249_600.0,
            -691.0 / 1_307_674_368_000.0,
            1.0 / 47_900_160.0,
            -1.0 / 1_209_600.0,
            1.0 / 30240.0,
            -1.0 / 720.0,
            1.0 / 12.0,
        ] {
            series = series * y2 + coefficient as f32;
        }
        series
    };
    elapsed - 2.0 * (elapsed * y * series(y * y) - x * series(x * x))
}

/// ρ, as it is defined.
#[must_use]
pub fn exact_rectified_length(t: u32, beta2: f64) -> f64 {
    let elapsed = f64::from(t);
    let left = (elapsed * beta2.ln()).exp() / exact_bias_correction(t, beta2);
    2.0 / (1.0 - beta2) - 1.0 - 2.0 * elapsed * left
}

/// What of the rectification does not depend on t; 0 where ρ never comes to 4.
#[must_use]
pub fn rectification_scale(beta2: f64) -> f64 {
    let longest = 2.0 / (1.0 - beta2) - 1.0;
    if longest > 4.0 { longest / ((longest - 4.0) * (longest - 2.0)) } else { 0.0 }
}

/// `functions/rectification.wgsl`: the rectification, from ρ.
#[must_use]
pub fn rectification(length: f32, beta2: f64) -> f32 {
    ((length - 4.0) * (length - 2.0) / length * rectification_scale(beta2) as f32).sqrt()
}

/// The rectification, from ρ.
#[must_use]
pub fn exact_rectification(length: f64, beta2: f64) -> f64 {
    ((length - 4.0) * (length - 2.0) / length * rectification_scale(beta2)).sqrt()
}

/// `functions/power.wgsl`, operation by operation: `t^exponent` below 2^127 for `t > 0` and an exponent that is given in
/// two parts.
#[must_use]
pub fn power(t: f32, [exponent_hi, exponent_lo]: [f32; 2]) -> f32 {
    let bits = t.to_bits();
    let mut k = (bits >> 23) as f32 - 127.0;
    let mut m = f32::from_bits(bits & 0x7f_ffff | 0x3f80_0000);
    if m > std::f32::consts::SQRT_2 {
        m *= 0.5;
        k += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut series = 1.0 / 9.0;
    for coefficient in [1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0] {
        series = series * s2 + coefficient;
    }
    let log2_m = 2.0 * std::f32::consts::LOG2_E * (s + s * s2 * series);
    let rest = k * exponent_lo + (exponent_hi + exponent_lo) * log2_m;
    let whole = (k * exponent_hi + rest).round_ties_even();
    if whole < -126.0 {
        return 0.0;
    }
    let x = ((k * exponent_hi - whole) + rest) * std::f32::consts::LN_2;
    let mut tail = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        tail = tail * x + coefficient;
    }
    whole.exp2() * (1.0 + (x + x * x * tail))
}

/// An exponent in the parts that [`power`] takes: the first has 12 bits, the second is the rest.
#[must_use]
pub fn split_exponent(exponent: f64) -> [f32; 2] {
    let high = f32::from_bits((exponent as f32).to_bits() & 0xffff_f000);
    [high, (exponent - f64::from(high)) as f32]
}

/// `functions/lerp.wgsl`: torch.lerp.
#[must_use]
pub fn lerp(start: f32, end: f32, weight: f32) -> f32 {
    let difference = end - start;
    if weight < 0.5 { start + difference * weight } else { end - difference * (1.0 - weight) }
}

/// `functions/max_magnitude.wgsl`: the larger of two numbers that are not negative, or NaN; torch.maximum.
pub fn maximum<T: PartialOrd + Copy>(a: T, b: T) -> T {
    let is_nan = a.partial_cmp(&a).is_none();
    if is_nan || a >= b { a } else { b }
}

/// The gradient with an L2 penalty, which touches nothing where it is 0: `0 * inf` is NaN.
pub fn l2<T>(grad: T, weight_decay: T, param: T) -> T
where
    T: Add<Output = T> + Mul<Output = T> + PartialEq + Default + Copy,
{
    if weight_decay == T::default() { grad } else { grad + weight_decay * param }
}

/// WGSL's `sign`: -1, 0 or 1; that of zero is zero, unlike Rust's `signum`. NaN stays.
#[must_use]
pub fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// `functions/noise.wgsl`: pcg4d.
#[must_use]
pub fn noise(counter: [u32; 4]) -> [u32; 4] {
    let mut v = counter.map(|word| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mix = |v: &mut [u32; 4]| {
        v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
        v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
        v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
        v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
    };
    mix(&mut v);
    v = v.map(|word| word ^ word >> 16);
    mix(&mut v);
    v
}

#[cfg(test)]
mod tests {
    use super::{
        bias_correction, exact_bias_correction, exact_rectification, exact_rectified_length, expm1,
        noise, power, rectification, rectified_length, split_exponent,
    };

    #[test]
    fn noise_is_even_in_every_bit_for_neighbouring_counters() {
        // The upper 16 bits of each word, which rounding uses, where counters differ in one word.
        for place in 0..4 {
            let mut ones = [0u32; 64];
            let mut counter = [7, 1, 5, 0];
            for draw in 0..1u32 << 14 {
                counter[place] = draw;
                let words = noise(counter);
                for (bit, count) in ones.iter_mut().enumerate() {
                    *count += words[bit / 16] >> (16 + bit % 16) & 1;
                }
            }
            // Five standard deviations of a fair coin.
            for count in ones {
                assert!(count.abs_diff(1 << 13) < 5 * 64, "{place}: {count}");
            }
        }
    }

    #[test]
    fn expm1_is_within_two_parts_in_ten_million() {
        let mut worst = 0.0f64;
        // From -1e-9 to -30, evenly in the logarithm.
        for i in 0..200_000 {
            let x = (-1e-9f64 * 10f64.powf(f64::from(i) / 200_000.0 * 10.48)) as f32;
            let exact = f64::from(x).exp_m1();
            worst = worst.max(((f64::from(expm1(x)) - exact) / exact).abs());
        }
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn bias_corrections_are_within_5e_7_up_to_2_to_the_24() {
        let mut worst = 0.0f64;
        for beta in [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999] {
            // Every t at first, then in steps of 0.01 %, and the last.
            let mut t = 1u32;
            loop {
                let found = f64::from(bias_correction(t, beta));
                worst = worst.max((found / exact_bias_correction(t, beta) - 1.0).abs());
                if t == 1 << 24 {
                    break;
                }
                t = (t + 1).max(t + t / 10_000).min(1 << 24);
            }
        }
        assert!(worst < 5e-7, "{worst:e}");
    }

    #[test]
    fn rectifications_are_within_5e_7_up_to_2_to_the_24() {
        for beta2 in [0.7, 0.8, 0.9, 0.97, 0.99, 0.999, 0.9999, 0.999_99] {
            let (mut worst, mut rectified) = (0.0f64, 0);
            for t in (1..1 << 16).chain((1 << 16..1 << 24).step_by(997)) {
                let exact = exact_rectified_length(t, beta2);
                let found = rectified_length(t, beta2);
                // Both see in the same step that there are enough gradients.
                assert_eq!(found >= 5.0, exact >= 5.0, "{beta2} {t}");
                if exact >= 5.0 {
                    let exact = exact_rectification(exact, beta2);
                    let found = f64::from(rectification(found, beta2));
                    worst = worst.max((found / exact - 1.0).abs());
                    rectified += 1;
                }
            }
            assert!(worst < 5e-7 && rectified > 80_000, "{beta2} {worst:e} {rectified}");
        }
        assert!((exact_rectified_length(1, 0.999) - 1.0).abs() < 1e-9);
        assert_eq!(rectified_length(6, 0.0), 1.0);
    }

    /// The largest relative error of [`power`] for the exponents that Adafactor may have.
    fn worst_power(steps: impl Iterator<Item = u32> + Clone) -> f64 {
        let mut worst = 0.0f64;
        for exponent in [-0.8, -0.5, -1.0, 0.0, -0.3, -0.999, -2.7] {
            let parts = split_exponent(exponent);
            for t in steps.clone() {
                let exact = f64::from(t).powf(exponent);
                let found = f64::from(power(t as f32, parts));
                worst = worst.max((found / exact - 1.0).abs());
            }
        }
        worst
    }

    #[test]
    fn powers_are_within_3e_7_up_to_2_to_the_24() {
        let first = 1..1 << 15;
        let worst = worst_power(first.chain((1 << 15..1 << 24).step_by(97)).chain([1 << 24]));
        assert!(worst < 3e-7, "{worst:e}");
        assert_eq!(power(1.0, split_exponent(-0.8)), 1.0);
        assert_eq!(power(16_777_215.0, split_exponent(0.0)), 1.0);
        assert_eq!(power(16_777_215.0, split_exponent(-50.0)), 0.0);
    }

    #[test]
    fn powers_of_learning_rates_and_that_grow_are_within_5e_7() {
        let mut worst = 0.0f64;
        for exponent in [0.5, 1.0, 1.5, 2.0, 3.7, 4.0] {
            let parts = split_exponent(exponent);
            for i in 0..20_000 {
                // From 1e-8 to 2^24, evenly in the logarithm.
                let t = (1e-8 * 10f64.powf(f64::from(i) / 20_000.0 * 15.22)) as f32;
                let exact = f64::from(t).powf(exponent);
                worst = worst.max((f64::from(power(t, parts)) / exact - 1.0).abs());
            }
        }
        assert!(worst < 5e-7, "{worst:e}");
    }

    #[test]
    #[ignore = "some seconds"]
    fn powers_are_within_3e_7_for_every_t_up_to_2_to_the_24() {
        let worst = worst_power(1..=1 << 24);
        assert!(worst < 3e-7, "{worst:e}");
    }
}
