//! Twin of `shaders/formats/e4m3.wgsl` and `shaders/codecs/state_fp8.wgsl`, by comparing all numbers in
//! f64.

/// The numbers of the format from 0 to 448, by their codes.
#[must_use]
pub fn magnitudes() -> Vec<f64> {
    let value = |code: u32| match (code >> 3, f64::from(code & 7) / 8.0) {
        (0, mantissa) => mantissa * 2f64.powi(-6),
        (exponent, mantissa) => (1.0 + mantissa) * 2f64.powi(exponent as i32 - 7),
    };
    (0..0x7f).map(value).collect()
}

/// The value that `value` may become in a block of this largest magnitude: the nearest, and in the
/// middle between two, up to `ulps` of f32, either.
#[must_use]
pub fn rounded(value: f32, absmax: f32, unsigned: bool, ulps: f64) -> Vec<f64> {
    let scale = f64::from(absmax / 448.0);
    let quotient = f64::from(value) / scale;
    let magnitudes = magnitudes();
    let tolerance = ulps * super::ulp(quotient);
    super::near(&magnitudes, quotient.abs(), tolerance)
        .map(|code| if unsigned && value > 0.0 { code.max(1) } else { code })
        .map(|code| (magnitudes[code] * scale).copysign(quotient))
        .collect()
}

#[cfg(test)]
mod tests {
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
