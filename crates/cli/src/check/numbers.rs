//! Numbers to check with, and how far others are from them.

/// Reproducible numbers (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub(super) struct Rng(pub(super) u64);

#[allow(clippy::cast_possible_truncation, reason = "bits are cut off on purpose")]
impl Rng {
    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn word(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    pub(super) fn words(&mut self, len: usize) -> Vec<u32> {
        (0..len).map(|_| self.word()).collect()
    }

    /// A whole number below another.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// A value whose magnitude is in [scale / 2, scale), of either sign.
    pub(super) fn value(&mut self, scale: f32) -> f32 {
        let bits = self.next_u64();
        let magnitude = 0.5 + (bits >> 40) as f32 / (1u64 << 25) as f32;
        if bits & 1 == 0 { scale * magnitude } else { -scale * magnitude }
    }

    pub(super) fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.value(scale)).collect()
    }

    /// A normal number with an exponent in this range.
    pub(super) fn normal(&mut self, exponents: std::ops::Range<i32>) -> f32 {
        let span = u64::from(exponents.end.abs_diff(exponents.start));
        let exponent = exponents.start + self.below(span) as i32;
        let word = self.word();
        f32::from_bits(word & 0x807f_ffff | ((exponent + 127) as u32) << 23)
    }

    pub(super) fn normals(&mut self, len: usize, exponents: std::ops::Range<i32>) -> Vec<f32> {
        (0..len).map(|_| self.normal(exponents.clone())).collect()
    }
}

/// The unit in the last place of an f32 of this size, that of the smallest normal number at least.
pub(super) fn ulp(value: f64) -> f64 {
    let magnitude = value.abs().clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
    // The exponent of f64, from its bits.
    let exponent = (magnitude.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    2f64.powi(exponent - 23)
}

/// How far a number is from the exact one, in units in the last place of this.
pub(super) fn ulp_error(found: f32, exact: f64) -> f64 {
    (f64::from(found) - exact).abs() / ulp(exact)
}

/// The bits, for comparisons that must be exact.
pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_f32() {
        for value in [1.0f32, 1.999, 2.0, 0.75, 1e-30, 3e38, -7.0] {
            let next = f64::from(f32::from_bits(value.to_bits() + 1));
            assert_eq!(ulp(value.into()), (next - f64::from(value)).abs(), "{value:e}");
            assert_eq!(ulp_error(f32::from_bits(value.to_bits() + 3), value.into()), 3.0);
        }
        assert_eq!(ulp(0.0), 2f64.powi(-149));
        assert!(ulp_error(f32::NAN, 1.0).is_nan());
    }

    #[test]
    fn numbers_are_of_the_exponents_asked_for() {
        let mut rng = Rng(1);
        for value in rng.normals(1000, -3..4) {
            assert!((0.125..16.0).contains(&value.abs()), "{value}");
        }
        for value in rng.values(1000, 2.0) {
            assert!((1.0..=2.0).contains(&value.abs()), "{value}");
        }
    }
}
