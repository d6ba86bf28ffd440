//! What kernels rely on of a device's arithmetic, each by a kernel of one expression.
//!
//! Bounds are those of WGSL's chapter on accuracy ("Floating Point Accuracy"), where it has one. What it leaves open is
//! told and never fails: whether a product and a sum are contracted, whether subnormal numbers are flushed.

use anyhow::Result;
use fallline_reference::functions::noise;
use fallline_shaders::{functions, join};

use super::{
    numbers::{Rng, ulp_error},
    probe::{As, evaluate, evaluate_f32},
    subject::{Finding, Measured, Subject, Worst, none_differs},
};

const LEN: usize = 1 << 18;

/// Bounds a function of two numbers, in ULP of the exact result.
fn bounded(
    subject: &Subject,
    expression: &str,
    [a, b]: [Vec<f32>; 2],
    exact: impl Fn(f64, f64) -> f64,
    bound: f64,
) -> Result<Finding> {
    let found = evaluate_f32(&subject.gpu, (expression, ""), [&a, &b, &b])?;
    Ok(judge_errors(expression, [&a, &b], &found, exact).at_most(bound))
}

/// The largest error, and of which numbers.
fn judge_errors(
    expression: &str,
    [a, b]: [&[f32]; 2],
    found: &[f32],
    exact: impl Fn(f64, f64) -> f64,
) -> Worst {
    let mut worst = Worst::new("ULP");
    for ((a, b), found) in a.iter().zip(b).zip(found) {
        let error = ulp_error(*found, exact((*a).into(), (*b).into()));
        worst.take(error, || {
            let b = if expression.contains('b') { format!(", b = {b:e}") } else { String::new() };
            format!("{expression} with a = {a:e}{b} is {found:e}")
        });
    }
    worst
}

pub(super) fn division(subject: &Subject) -> Result<Finding> {
    let mut rng = Rng(1);
    let operands = [rng.normals(LEN, -60..60), rng.normals(LEN, -60..60)];
    bounded(subject, "a / b", operands, |a, b| a / b, 2.5)
}

/// WGSL has it as 1 / inverseSqrt: 2 ULP, and a division.
pub(super) fn square_root(subject: &Subject) -> Result<Finding> {
    let values: Vec<f32> = Rng(2).normals(LEN, -120..120).iter().map(|a| a.abs()).collect();
    bounded(subject, "sqrt(a)", [values.clone(), values], |a, _| a.sqrt(), 4.5)
}

pub(super) fn inverse_square_root(subject: &Subject) -> Result<Finding> {
    let values: Vec<f32> = Rng(3).normals(LEN, -120..120).iter().map(|a| a.abs()).collect();
    bounded(subject, "inverseSqrt(a)", [values.clone(), values], |a, _| 1.0 / a.sqrt(), 2.0)
}

/// Sums of random numbers, and all kinds of ties: half a unit of the larger added to it, and a little more or less.
fn summands() -> [Vec<f32>; 2] {
    let mut rng = Rng(4);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for index in 0..LEN {
        let large = rng.normal(-30..30);
        let unit = f32::from_bits((large.abs().to_bits() & 0x7f80_0000) - (24 << 23));
        let half = if rng.below(2) == 0 { unit } else { -unit };
        a.push(large);
        b.push(match index % 4 {
            0 => half,
            1 => f32::from_bits(half.to_bits() + 1),
            2 => 3.0 * half,
            _ => rng.normal(-40..40),
        });
    }
    [a, b]
}

pub(super) fn addition(subject: &Subject) -> Result<Finding> {
    let [a, b] = summands();
    let found = evaluate_f32(&subject.gpu, ("a + b", ""), [&a, &b, &b])?;
    Ok(judge_rounding("+", [&a, &b], &found, |a, b| a + b))
}

pub(super) fn multiplication(subject: &Subject) -> Result<Finding> {
    let mut rng = Rng(5);
    let (a, b) = (rng.normals(LEN, -60..60), rng.normals(LEN, -60..60));
    let found = evaluate_f32(&subject.gpu, ("a * b", ""), [&a, &b, &b])?;
    Ok(judge_rounding("*", [&a, &b], &found, |a, b| a * b))
}

/// Against the host's own operation, which rounds to nearest, ties to even, as IEEE 754 has it.
fn judge_rounding(
    operation: &str,
    [a, b]: [&[f32]; 2],
    found: &[f32],
    expected: impl Fn(f32, f32) -> f32,
) -> Finding {
    let wrong = a.iter().zip(b).zip(found).filter_map(|((a, b), found)| {
        let expected = expected(*a, *b);
        let told = format!("{a:e} {operation} {b:e} is {found:e}, not {expected:e}");
        // A result that is subnormal may be flushed.
        (expected.is_normal() && found.to_bits() != expected.to_bits()).then_some(told)
    });
    none_differs(("results", a.len()), wrong)
}

/// Either is right, and both may occur in one kernel.
pub(super) fn contraction(subject: &Subject) -> Result<Finding> {
    let mut rng = Rng(6);
    let [a, b, c] = [(); 3].map(|()| rng.normals(LEN, -4..4));
    let of = |expression| evaluate_f32(&subject.gpu, (expression, ""), [&a, &b, &c]);
    let (written, named) = (of("a * b + c")?, of("fma(a, b, c)")?);
    let [written, named] = [&written, &named].map(|found| judge_fused([&a, &b, &c], found));
    Ok(match (written, named) {
        (Ok(written), Ok(named)) => {
            let seen = format!("a * b + c is {written}, fma(a, b, c) is {named}");
            Finding::Passed(Measured::seen(seen))
        }
        (Err(wrong), _) | (_, Err(wrong)) => {
            let expected = "one rounding, or one after the product and one after the sum".into();
            Finding::Failed { measured: Measured::seen(wrong), expected }
        }
    })
}

/// Whether there was one rounding or two; or an example of neither.
fn judge_fused([a, b, c]: [&[f32]; 3], found: &[f32]) -> Result<&'static str, String> {
    let (mut one, mut two) = (0, 0);
    for (index, found) in found.iter().enumerate() {
        let (a, b, c) = (a[index], b[index], c[index]);
        let (fused, separate) = (a.mul_add(b, c), a * b + c);
        if fused.to_bits() == separate.to_bits() && found.to_bits() == fused.to_bits() {
            continue;
        }
        match found.to_bits() {
            bits if bits == fused.to_bits() => one += 1,
            bits if bits == separate.to_bits() => two += 1,
            _ => return Err(format!("{a:e} * {b:e} + {c:e} is {found:e}")),
        }
    }
    Ok(match (one, two) {
        (_, 0) => "rounded once",
        (0, _) => "rounded twice",
        _ => "rounded once or twice",
    })
}

/// Either is right.
pub(super) fn subnormals(subject: &Subject) -> Result<Finding> {
    let words: Vec<u32> = (0..1 << 16).map(|n| (1 + n * 127) | ((n & 1) << 31)).collect();
    let values: Vec<f32> = words.into_iter().map(f32::from_bits).collect();
    let ones = vec![1.0; values.len()];
    let of = |expression| evaluate_f32(&subject.gpu, (expression, ""), [&values, &ones, &ones]);
    let (loaded, computed) = (of("a")?, of("a * b")?);
    let [loaded, computed] = [&loaded, &computed].map(|found| judge_flushed(&values, found));
    Ok(match (loaded, computed) {
        (Ok(loaded), Ok(computed)) => {
            let seen = format!("{loaded} when loaded, {computed} when multiplied");
            Finding::Passed(Measured::seen(seen))
        }
        (Err(wrong), _) | (_, Err(wrong)) => Finding::Failed {
            measured: Measured::seen(wrong),
            expected: "the same number, or zero".to_owned(),
        },
    })
}

fn judge_flushed(values: &[f32], found: &[f32]) -> Result<&'static str, String> {
    let (mut kept, mut flushed) = (false, false);
    for (value, found) in values.iter().zip(found) {
        match found {
            found if found.to_bits() == value.to_bits() => kept = true,
            0.0 => flushed = true,
            _ => return Err(format!("{value:e} is {found:e}")),
        }
    }
    Ok(match (kept, flushed) {
        (_, false) => "kept",
        (false, _) => "flushed",
        _ => "kept or flushed",
    })
}

/// The test of the kernels. Comparisons of NaN, and `v * 0`, may be assumed away.
const IS_NOT_FINITE: &str = "select(vec4<u32>(0u), vec4<u32>(1u), \
    (bitcast<vec4<u32>>(a) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u))";

pub(super) fn not_finite(subject: &Subject) -> Result<Finding> {
    let mut words = vec![f32::INFINITY.to_bits(), f32::NEG_INFINITY.to_bits()];
    words.extend([0x7f80_0001, 0x7fc0_0000, 0xffff_ffff, 0xff80_0001, 0x7f7f_ffff, 0xff7f_ffff]);
    words.extend(Rng(7).words(LEN - words.len()));
    // Every eighth is infinite or NaN.
    words.iter_mut().step_by(8).for_each(|word| *word |= 0x7f80_0000);
    let found = evaluate(&subject.gpu, (IS_NOT_FINITE, ""), As::Floats, [&words; 3])?;
    Ok(judge_not_finite(&words, &found))
}

fn judge_not_finite(words: &[u32], found: &[u32]) -> Finding {
    let wrong = words.iter().zip(found).filter_map(|(word, found)| {
        let expected = u32::from(!f32::from_bits(*word).is_finite());
        let taken = if *found == 0 { "finite" } else { "not finite" };
        (*found != expected).then(|| format!("{word:#010x} is taken to be {taken}"))
    });
    none_differs(("numbers", words.len()), wrong)
}

/// The kernels' own function, in the range of bias corrections: exp(x) - 1 for x = t ln β.
pub(super) fn expm1(subject: &Subject) -> Result<Finding> {
    let values: Vec<f32> = Rng(8).normals(LEN, -27..5).iter().map(|a| -a.abs()).collect();
    let functions = join(&[functions::EXPM1]) + FOUR;
    let found = evaluate_f32(&subject.gpu, ("four_expm1(a)", &functions), [&values; 3])?;
    let mut worst = Worst::new("relative error");
    for (x, found) in values.iter().zip(&found) {
        let exact = f64::from(*x).exp_m1();
        let error = (f64::from(*found) / exact - 1.0).abs();
        worst.take(error, || format!("expm1({x:e}) is {found:e}"));
    }
    Ok(worst.at_most(2e-7))
}

const FOUR: &str = "fn four_expm1(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(expm1(x.x), expm1(x.y), expm1(x.z), expm1(x.w));
}";

/// The bits of stochastic rounding: products and shifts of whole numbers.
pub(super) fn random_bits(subject: &Subject) -> Result<Finding> {
    let words = Rng(9).words(LEN);
    let functions = join(&[functions::NOISE]);
    let found = evaluate(&subject.gpu, ("noise(a)", &functions), As::Words, [&words; 3])?;
    let expected = words.as_chunks::<4>().0.iter().flat_map(|counter| noise(*counter));
    let wrong = expected.zip(found).enumerate().filter(|(_, (expected, found))| expected != found);
    let wrong = wrong
        .map(|(at, (expected, found))| format!("word {at} is {found:#010x}, not {expected:#010x}"));
    Ok(none_differs(("words", LEN), wrong))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::numbers::bits;

    fn fails(finding: &Finding) -> bool {
        matches!(finding, Finding::Failed { .. })
    }

    #[test]
    fn a_sum_that_is_not_rounded_to_nearest_even_is_found() {
        let [a, b] = summands();
        let right: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert!(!fails(&judge_rounding("+", [&a, &b], &right, |a, b| a + b)));
        // Ties away from zero: the next number where the sum is a tie that went towards it.
        let away = |(a, b): (&f32, &f32)| {
            let (sum, exact) = (a + b, f64::from(*a) + f64::from(*b));
            let off = exact - f64::from(sum);
            let other = f64::from(if off * exact > 0.0 { up(sum) } else { sum });
            if off != 0.0 && (other - exact).abs() == off.abs() { up(sum) } else { sum }
        };
        fn up(value: f32) -> f32 {
            f32::from_bits(value.to_bits() + 1)
        }
        let wrong: Vec<f32> = a.iter().zip(&b).map(away).collect();
        assert_ne!(bits(&wrong), bits(&right), "there are ties");
        assert!(fails(&judge_rounding("+", [&a, &b], &wrong, |a, b| a + b)));
        // Towards zero.
        let chopped: Vec<f32> = right.iter().map(|sum| f32::from_bits(sum.to_bits() - 1)).collect();
        assert!(fails(&judge_rounding("+", [&a, &b], &chopped, |a, b| a + b)));
    }

    #[test]
    fn quotients_are_measured_in_units() {
        let (a, b) = ([1.0, 2.0], [3.0, 3.0]);
        let right = [1.0f32 / 3.0, 2.0 / 3.0];
        let of =
            |found| judge_errors("a / b", [&a, &b], found, |a, b| a / b).measured().expect("two");
        let measured = of(&right);
        assert!(measured.value.is_some_and(|error| error < 0.5), "{measured}");
        let wrong = [right[0], f32::from_bits(right[1].to_bits() + 3)];
        let measured = of(&wrong);
        assert!(measured.at.contains("a = 2e0"), "{measured}");
        assert!(fails(&measured.at_most(2.5)));
    }

    #[test]
    fn one_rounding_is_told_from_two_and_from_neither() {
        let mut rng = Rng(6);
        let [a, b, c] = [(); 3].map(|()| rng.normals(1000, -4..4));
        let of = |compute: &dyn Fn(f32, f32, f32) -> f32| -> Result<&'static str, String> {
            let found: Vec<f32> = (0..1000).map(|i| compute(a[i], b[i], c[i])).collect();
            judge_fused([&a, &b, &c], &found)
        };
        assert_eq!(of(&|a, b, c| a.mul_add(b, c)), Ok("rounded once"));
        assert_eq!(of(&|a, b, c| a * b + c), Ok("rounded twice"));
        assert!(of(&|a, b, c| a * b + c * 1.000_001).is_err());
    }

    #[test]
    fn flushed_is_told_from_kept_and_from_neither() {
        let values = [1, 77, 0x8000_0005].map(f32::from_bits);
        assert_eq!(judge_flushed(&values, &values), Ok("kept"));
        assert_eq!(judge_flushed(&values, &[0.0, 0.0, -0.0]), Ok("flushed"));
        assert_eq!(judge_flushed(&values, &[0.0, values[1], 0.0]), Ok("kept or flushed"));
        assert!(judge_flushed(&values, &[0.0, values[0], 0.0]).is_err());
    }

    #[test]
    fn a_nan_that_is_taken_for_a_number_is_found() {
        let words = [f32::NAN.to_bits(), f32::INFINITY.to_bits(), 1.0f32.to_bits()];
        assert!(!fails(&judge_not_finite(&words, &[1, 1, 0])));
        for wrong in [[0, 1, 0], [1, 0, 0], [1, 1, 1]] {
            assert!(fails(&judge_not_finite(&words, &wrong)));
        }
    }
}
