//! Twin of `shaders/formats/nibble.wgsl`: the maps of four bits as tables, in f64.

/// The 16 values of a map, ascending; torchao's `create_dynamic_map(True, 3, 4)`, and (code + 1) / 16.
#[must_use]
pub fn map(unsigned: bool) -> Vec<f64> {
    if unsigned {
        return (1..=16).map(|code| f64::from(code) / 16.0).collect();
    }
    let mut values = vec![0.0, 1.0];
    for decade in 0..3u32 {
        let parts = 1u32 << decade;
        let top = 10f64.powi(decade as i32 - 2);
        for part in 0..parts {
            let middle = 0.1 + 0.9 * (f64::from(part) + 0.5) / f64::from(parts);
            values.extend([top * middle, -top * middle]);
        }
    }
    values.sort_by(f64::total_cmp);
    values
}

/// The value that `value` may become in a block of this largest magnitude: the nearest, and in the
/// middle between two, up to `ulps` of f32, either.
#[must_use]
pub fn rounded(value: f32, absmax: f32, unsigned: bool, ulps: f64) -> Vec<f64> {
    let map = map(unsigned);
    let quotient = f64::from(value) / f64::from(absmax);
    let tolerance = ulps * super::ulp(quotient);
    super::near(&map, quotient, tolerance).map(|code| map[code] * f64::from(absmax)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn maps_are_torchaos() {
        let signed = super::map(false);
        let published = [0.0, 0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875, 1.0];
        assert!(signed[7..].iter().zip(published).all(|(a, b)| (a - b).abs() < 1e-9));
        assert!(
            signed[..7]
                .iter()
                .zip(&signed[8..15].iter().rev().collect::<Vec<_>>())
                .all(|(a, b)| *a == -**b)
        );
        assert_eq!(super::map(true).first(), Some(&0.0625));
    }
}
