//! Twin of `shaders/formats/e4m3.wgsl` and `shaders/codecs/state_fp8.wgsl`, by comparing all numbers in
//! f64.

use std::{cmp::Ordering, sync::LazyLock};

static MAGNITUDES: LazyLock<Vec<f64>> = LazyLock::new(magnitudes);

/// The numbers of the format from 0 to 448, by their codes.
#[must_use]
pub fn magnitudes() -> Vec<f64> {
    let value = |code: u32| match (code >> 3, f64::from(code & 7) / 8.0) {
        (0, mantissa) => mantissa * 2f64.powi(-6),
        (exponent, mantissa) => (1.0 + mantissa) * 2f64.powi(exponent as i32 - 7),
    };
    (0..0x7f).map(value).collect()
}

/// The value of a code.
#[must_use]
pub fn decode(code: u8) -> f32 {
    let magnitude = MAGNITUDES.get(usize::from(code & 0x7f));
    let magnitude = magnitude.map_or(f32::NAN, |magnitude| *magnitude as f32);
    f32::from_bits(magnitude.to_bits() | u32::from(code & 0x80) << 24)
}

/// The nearest code, ties to the even one; beyond 448 to 448. A NaN stays one.
#[must_use]
pub fn encode(value: f32) -> u8 {
    let magnitude = f64::from(value.abs());
    let above = MAGNITUDES.partition_point(|other| *other < magnitude).min(0x7e);
    let below = above.saturating_sub(1);
    let distance = |code: usize| (MAGNITUDES[code] - magnitude).abs();
    let code = match distance(below).partial_cmp(&distance(above)) {
        Some(Ordering::Less) => below,
        // The code of an even mantissa is even.
        Some(Ordering::Equal) => below + below % 2,
        Some(Ordering::Greater) => above,
        None => 0x7f,
    };
    code as u8 | u8::from(value.is_sign_negative()) << 7
}

/// The value that `value` may become in a block of this largest magnitude: the nearest, and in the
/// middle between two, up to `ulps` of f32, either.
#[must_use]
pub fn rounded(value: f32, absmax: f32, unsigned: bool, ulps: f64) -> Vec<f64> {
    let scale = f64::from(absmax / 448.0);
    let quotient = f64::from(value) / scale;
    let tolerance = ulps * super::ulp(quotient);
    super::near(&MAGNITUDES, quotient.abs(), tolerance)
        .map(|code| if unsigned && value > 0.0 { code.max(1) } else { code })
        .map(|code| (MAGNITUDES[code] * scale).copysign(quotient))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn codes_are_given_back_and_ties_go_to_the_even_one() {
        for code in (0..=u8::MAX).filter(|code| code & 0x7f != 0x7f) {
            assert_eq!(super::encode(super::decode(code)), code);
        }
        for (value, code) in [
            (f32::NAN, 0x7f),
            (-f32::NAN, 0xff),
            (f32::INFINITY, 0x7e),
            (-480.0, 0xfe),
            (2f32.powi(-10), 0),
            (2f32.powi(-10).next_up(), 1),
            (3.0 * 2f32.powi(-10), 2),
            (-15.0 * 2f32.powi(-10), 0x88),
            (1.0625, 0x38),
            (1.1875, 0x3a),
            (f32::from_bits(1), 0),
        ] {
            assert_eq!(super::encode(value), code, "{value:e}");
        }
    }

    #[test]
    fn numbers_are_the_published_ones() {
        let magnitudes = super::magnitudes();
        assert_eq!(magnitudes.last(), Some(&448.0));
        // The smallest subnormal, the largest, the smallest normal number.
        let (least, below, normal) = (2f64.powi(-9), 0.875 * 2f64.powi(-6), 2f64.powi(-6));
        assert_eq!((magnitudes[1], magnitudes[7], magnitudes[8]), (least, below, normal));
        assert!(magnitudes.is_sorted());
    }
}
