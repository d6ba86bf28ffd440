//! The conversions of the kernels, alone, against their twins on the host: every code, every tie, and random bits.

#![allow(clippy::cast_possible_truncation, reason = "codes are lower halves of words")]

use anyhow::Result;
use fallline_reference::formats::{bf16, e4m3, f16};
use fallline_shaders::{Source, formats, join};

use super::{
    numbers::Rng,
    probe::{As, evaluate},
    subject::{Finding, Subject, none_differs},
};

/// How the engine rounds to the nearest code: by sums that the device rounds so.
const BY_SUMS: [Source; 2] = [formats::F16_NEAREST, formats::E4M3_NEAREST];
/// The same after `Gpu::round_on_bits`.
const ON_BITS: [Source; 2] = [formats::F16_NEAREST_ON_BITS, formats::E4M3_NEAREST_ON_BITS];

/// Evaluates an expression of codes or of an f32's bits in `a`, random bits in `b`.
fn check(
    subject: &Subject,
    expression: &str,
    inputs: [&[u32]; 2],
    twin: impl Fn(u32, u32) -> u32,
) -> Result<Finding> {
    check_with(subject, BY_SUMS, expression, inputs, twin)
}

fn check_with(
    subject: &Subject,
    nearest: [Source; 2],
    expression: &str,
    [words, randoms]: [&[u32]; 2],
    twin: impl Fn(u32, u32) -> u32,
) -> Result<Finding> {
    let functions = join(&[formats::F16, formats::BF16, formats::E4M3]) + &join(&nearest);
    let inputs = [words, randoms, words];
    let found = evaluate(&subject.gpu, (expression, &functions), As::Words, inputs)?;
    Ok(judge([words, randoms], &found, twin))
}

fn judge([words, randoms]: [&[u32]; 2], found: &[u32], twin: impl Fn(u32, u32) -> u32) -> Finding {
    let wrong = words.iter().zip(randoms).zip(found).filter_map(|((word, random), found)| {
        let expected = twin(*word, *random);
        let told = || format!("{word:#x} becomes {found:#x}, not {expected:#x}");
        (*found != expected).then(told)
    });
    none_differs(("words", words.len()), wrong)
}

/// Decodes every code, and encodes what that gives.
fn every_code(subject: &Subject, name: &str, decode: fn(u32) -> f32, bits: u32) -> Result<Finding> {
    let codes: Vec<u32> = (0..1 << bits).collect();
    let decoding = format!("bitcast<vec4<u32>>({name}_decode(a))");
    let decoded = check(subject, &decoding, [&codes, &codes], |code, _| decode(code).to_bits())?;
    if let Finding::Failed { .. } = decoded {
        return Ok(decoded);
    }
    let both = format!("{name}_encode({name}_decode(a))");
    // A NaN that signals becomes quiet; e4m3 has one NaN of each sign.
    let quiet = match name {
        "f16" => 0x200,
        "bf16" => 0x40,
        _ => 0,
    };
    check(subject, &both, [&codes, &codes], |code, _| {
        code | if decode(code).is_nan() { quiet } else { 0 }
    })
}

pub(super) fn f16_codes(subject: &Subject) -> Result<Finding> {
    every_code(subject, "f16", f16_value, 16)
}

pub(super) fn bf16_codes(subject: &Subject) -> Result<Finding> {
    every_code(subject, "bf16", bf16_value, 16)
}

pub(super) fn e4m3_codes(subject: &Subject) -> Result<Finding> {
    every_code(subject, "e4m3", e4m3_value, 8)
}

fn f16_value(code: u32) -> f32 {
    f16::decode(code as u16)
}

fn bf16_value(code: u32) -> f32 {
    bf16::decode(code as u16)
}

fn e4m3_value(code: u32) -> f32 {
    e4m3::decode(code as u8)
}

/// f32s whose encoding is hard: every code and every tie between two, with their neighbours; every exponent; random
/// bits.
fn hard(code_bits: u32, value: fn(u32) -> f32) -> Vec<u32> {
    let mut bits = Vec::new();
    for code in 0..1 << code_bits {
        let (low, high) = (value(code), value((code + 1).min((1 << code_bits) - 1)));
        let (low64, mut high64) = (f64::from(low), f64::from(high));
        if low.is_finite() && high.is_infinite() {
            // What would be the next number: from the middle on numbers become infinite.
            high64 = 2.0 * low64 - f64::from(value(code - 1));
        }
        let middle = ((low64 + high64) / 2.0) as f32;
        for value in [low, middle] {
            bits.extend([value.next_down(), value, value.next_up()].map(f32::to_bits));
        }
    }
    for power in (0..1 << 9).map(|power| power << 23) {
        bits.extend([power, power + 1, power | 0x7f_ffff]);
    }
    bits.extend(Rng(11).words(1 << 16));
    bits
}

fn f16_nearest(subject: &Subject, nearest: [Source; 2]) -> Result<Finding> {
    let (hard, encoding) = (hard(16, f16_value), "f16_encode(bitcast<vec4<f32>>(a))");
    check_with(subject, nearest, encoding, [&hard, &hard], |bits, _| {
        f16::encode(f32::from_bits(bits)).into()
    })
}

fn e4m3_nearest(subject: &Subject, nearest: [Source; 2]) -> Result<Finding> {
    let (hard, encoding) = (hard(8, e4m3_value), "e4m3_encode(bitcast<vec4<f32>>(a))");
    check_with(subject, nearest, encoding, [&hard, &hard], |bits, _| {
        e4m3::encode(f32::from_bits(bits)).into()
    })
}

/// What to do about sums that the device rounds otherwise.
fn or_on_bits(finding: Finding) -> Finding {
    match finding {
        Finding::Failed { measured, expected } => {
            let expected = format!("{expected}; until it is mended, use `Gpu::round_on_bits`");
            Finding::Failed { measured, expected }
        }
        other => other,
    }
}

pub(super) fn f16_rounding(subject: &Subject) -> Result<Finding> {
    Ok(or_on_bits(f16_nearest(subject, BY_SUMS)?))
}

pub(super) fn f16_on_bits(subject: &Subject) -> Result<Finding> {
    f16_nearest(subject, ON_BITS)
}

pub(super) fn bf16_rounding(subject: &Subject) -> Result<Finding> {
    let hard = hard(16, bf16_value);
    check(subject, "bf16_encode(bitcast<vec4<f32>>(a))", [&hard, &hard], |bits, _| {
        bf16::encode(f32::from_bits(bits)).into()
    })
}

pub(super) fn e4m3_rounding(subject: &Subject) -> Result<Finding> {
    Ok(or_on_bits(e4m3_nearest(subject, BY_SUMS)?))
}

pub(super) fn e4m3_on_bits(subject: &Subject) -> Result<Finding> {
    e4m3_nearest(subject, ON_BITS)
}

/// With given random bits.
pub(super) fn stochastic(subject: &Subject) -> Result<Finding> {
    let hard = hard(16, f16_value);
    let randoms = Rng(12).words(hard.len());
    let expression = "f16_encode_stochastic(bitcast<vec4<f32>>(a), b)";
    let in_f16 = check(subject, expression, [&hard, &randoms], |bits, random| {
        f16::encode_stochastic(f32::from_bits(bits), random).into()
    })?;
    if let Finding::Failed { .. } = in_f16 {
        return Ok(in_f16);
    }
    let expression = "bf16_encode_stochastic(bitcast<vec4<f32>>(a), b)";
    check(subject, expression, [&hard, &randoms], |bits, random| {
        bf16::encode_stochastic(f32::from_bits(bits), random).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_code_among_all_is_found() {
        let codes: Vec<u32> = (0..1 << 16).collect();
        let mut found: Vec<u32> = codes.iter().map(|code| f16_value(*code).to_bits()).collect();
        let judged = |found: &[u32]| judge([&codes, &codes], found, |c, _| f16_value(c).to_bits());
        assert!(matches!(judged(&found), Finding::Passed(_)));
        // The smallest subnormal number, flushed.
        found[1] = 0;
        let Finding::Failed { measured, .. } = judged(&found) else { panic!("it passed") };
        assert_eq!(measured.to_string(), "1 differ of 65536 words");
        assert_eq!(measured.detail, "0x1 becomes 0x0, not 0x33800000");
    }

    #[test]
    fn a_sum_that_is_rounded_otherwise_has_a_way_out() {
        // Below 2^-14 towards zero, as by a sum that is cut off.
        let hard = hard(16, f16_value);
        let cut = |bits: u32| match f16::encode(f32::from_bits(bits)) {
            code if bits < 0x3880_0000 && f16_value(code.into()) > f32::from_bits(bits) => code - 1,
            code => code,
        };
        let found: Vec<u32> = hard.iter().map(|bits| cut(*bits).into()).collect();
        let judged = judge([&hard, &hard], &found, |b, _| f16::encode(f32::from_bits(b)).into());
        let Finding::Failed { expected, .. } = or_on_bits(judged) else { panic!("it passed") };
        assert!(expected.ends_with("use `Gpu::round_on_bits`"), "{expected}");
    }

    #[test]
    fn ties_of_f16_are_among_the_hard_numbers() {
        let hard = hard(16, f16_value);
        let is_tie =
            |bits: &u32| bits & 0x1fff == 0x1000 && (0x3880_0000..0x4780_0000).contains(bits);
        assert!(hard.iter().filter(|bits| is_tie(bits)).count() >= 30 << 10);
        assert!(hard.contains(&65520f32.to_bits()), "which becomes infinite");
    }
}
