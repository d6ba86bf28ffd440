//! Distances in units in the last place.

/// How many f32 lie between two values, counting across zero; `u32::MAX` if one is NaN and the
/// other is not.
#[must_use]
pub fn distance(a: f32, b: f32) -> u32 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u32::MAX };
    }
    ordinal(a).abs_diff(ordinal(b))
}

/// A number that grows by one from each f32 to the next.
fn ordinal(value: f32) -> i32 {
    let bits = value.to_bits();
    let magnitude = (bits & 0x7fff_ffff) as i32;
    if bits >> 31 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn neighbours_are_one_apart_also_across_zero() {
        assert_eq!(distance(1.0, f32::from_bits(1.0f32.to_bits() + 1)), 1);
        assert_eq!(distance(0.0, -0.0), 0);
        assert_eq!(distance(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(distance(f32::NAN, f32::NAN), 0);
        assert_eq!(distance(f32::NAN, 1.0), u32::MAX);
        assert_eq!(distance(f32::MAX, f32::INFINITY), 1);
    }
}
