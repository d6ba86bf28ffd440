//! Twin of `shaders/formats/companded.wgsl` and `shaders/codecs/state_companded.wgsl`, in f64.

/// The scale that a block of this largest magnitude may have: rounded up to bf16; where that takes a
/// square root, which a device may miss by some `ulps`, either of two.
fn scales(absmax: f32, unsigned: bool, ulps: f64) -> Vec<f64> {
    let up = |value: f64| {
        let bits = (value as f32).to_bits();
        // The largest of which the value, or the square, is finite in f32.
        let most = if unsigned { 0x5f7f_0000 } else { 0x7f7f_0000 };
        f64::from(f32::from_bits(((bits + 0xffff) & 0xffff_0000).min(most)))
    };
    if !unsigned {
        return vec![up(absmax.into())];
    }
    let root = f64::from(absmax).sqrt();
    let slack = ulps * super::ulp(root);
    let mut scales = vec![up(root - slack), up(root + slack)];
    scales.dedup();
    scales
}

/// The value that `value` may become in a block of this largest magnitude.
#[must_use]
pub fn rounded(value: f32, absmax: f32, unsigned: bool, ulps: f64) -> Vec<f64> {
    let codes: Vec<f64> = (0..=if unsigned { 255 } else { 127 }).map(f64::from).collect();
    let mut values = Vec::new();
    for scale in scales(absmax, unsigned, ulps) {
        let magnitude = f64::from(value.abs());
        let coded = if unsigned {
            255.0 * magnitude.sqrt() / scale
        } else {
            254.0 * magnitude / (scale + magnitude)
        };
        let coded = coded.min(codes[codes.len() - 1]);
        let tolerance = ulps * super::ulp(coded.max(1.0));
        values.extend(super::near(&codes, coded, tolerance).map(|code| {
            let code = codes[if unsigned && value > 0.0 { code.max(1) } else { code }];
            if unsigned {
                (code / 255.0 * scale).powi(2)
            } else {
                (code / (254.0 - code) * scale).copysign(value.into())
            }
        }));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn the_largest_keeps_its_value_and_others_are_near() {
        for (unsigned, least) in [(false, 0.0), (true, 255f64.powi(-2))] {
            assert_eq!(rounded(4.0, 4.0, unsigned, 0.0), [4.0]);
            assert_eq!(rounded(0.0, 4.0, unsigned, 0.0), [0.0]);
            let found = rounded(1e-9, 4.0, unsigned, 0.0)[0];
            assert!((found - 4.0 * least).abs() < 1e-12);
            for step in 1..1000u16 {
                let value = 4.0 * f32::from(step) / 1000.0;
                let found = rounded(value, 4.0, unsigned, 0.0)[0];
                // Half of the widest distance between two codes.
                assert!((found - f64::from(value)).abs() < 4.0 / 120.0, "{value} {found}");
            }
        }
    }
}
