//! Twins of `shaders/formats`, one element at a time.

pub mod bf16;
pub mod companded;
pub mod dynamic;
pub mod e4m3;
pub mod f16;
pub mod nibble;

/// The unit in the last place of an f32 of this size.
fn ulp(value: f64) -> f64 {
    let narrow = (value.abs() as f32).min(f32::MAX.next_down());
    f64::from(narrow.next_up()) - f64::from(narrow)
}

/// The nearest of ascending values, and those that are as near up to twice a tolerance.
fn near(values: &[f64], value: f64, tolerance: f64) -> impl Iterator<Item = usize> {
    let distance = move |other: f64| (other - value).abs();
    let least = values.iter().map(|other| distance(*other)).fold(f64::INFINITY, f64::min);
    let is_near = move |(index, other): (usize, &f64)| {
        (distance(*other) <= least + 2.0 * tolerance).then_some(index)
    };
    values.iter().enumerate().filter_map(is_near)
}

#[cfg(test)]
mod tests {
    use half::{bf16 as Bf16, f16 as F16};

    use super::{bf16, f16};

    /// Values at and around every tie between two neighbouring codes, and every code.
    fn around(decode: fn(u16) -> f32) -> impl Iterator<Item = f32> {
        (0..=u16::MAX).flat_map(move |code| {
            let (low, high) = (decode(code), decode(code.saturating_add(1)));
            let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
            [low, middle.next_down(), middle, middle.next_up(), low.next_up(), low.next_down()]
        })
    }

    #[test]
    fn nearest_codes_are_those_of_half() {
        for value in around(|code| F16::from_bits(code).to_f32()) {
            assert_eq!(f16::encode(value), F16::from_f32(value).to_bits(), "{value:e}");
        }
        for value in around(|code| Bf16::from_bits(code).to_f32()) {
            assert_eq!(bf16::encode(value), Bf16::from_f32(value).to_bits(), "{value:e}");
        }
    }

    #[test]
    fn decoding_is_exact_and_encoding_gives_the_code_back() {
        for code in 0..=u16::MAX {
            let (a, b) = (F16::from_bits(code), Bf16::from_bits(code));
            if !a.is_nan() {
                assert_eq!(f16::decode(code).to_bits(), a.to_f32().to_bits());
            }
            if !b.is_nan() {
                assert_eq!(bf16::decode(code).to_bits(), b.to_f32().to_bits());
            }
            // A NaN that signals becomes quiet.
            assert_eq!(f16::encode(f16::decode(code)), code | if a.is_nan() { 0x200 } else { 0 });
            assert_eq!(bf16::encode(bf16::decode(code)), code | if b.is_nan() { 0x40 } else { 0 });
        }
    }

    #[test]
    fn stochastic_rounding_takes_a_neighbour_with_the_right_probability() {
        // Of these values 3/8 of a unit are dropped.
        for value in [1.0 + 3.0 / 8192.0, -(1.0 + 3.0 / 8192.0)] {
            let (nearer, further) = (f16::encode(value), f16::encode(value) + 1);
            let draws = (0..1u32 << 13).map(|r| f16::encode_stochastic(value, r << 19));
            let away = draws.inspect(|code| assert!(*code == nearer || *code == further));
            assert_eq!(away.filter(|code| *code == further).count(), 3 << 10, "{value}");
        }
        let draws = (0..1u32 << 16).map(|r| bf16::encode_stochastic(1.0 + 3.0 / 1024.0, r << 16));
        let away = draws.inspect(|code| assert!(*code == 0x3f80 || *code == 0x3f81));
        assert_eq!(away.filter(|code| *code == 0x3f81).count(), 3 << 13);
        // A subnormal f16: 2^-26 is a quarter of the unit.
        let draws = (0..1u32 << 8).map(|r| f16::encode_stochastic(2f32.powi(-26), r << 24));
        assert_eq!(draws.filter(|code| *code == 1).count(), 1 << 6);
        // And 2^-50, which is hardly ever rounded up.
        let draws = (0..1u32 << 16).map(|r| f16::encode_stochastic(2f32.powi(-50), r << 16));
        assert_eq!(draws.filter(|code| *code == 1).count(), 0);
        for code in 0..=u16::MAX {
            for random in [0, u32::MAX] {
                let value = f16::decode(code);
                assert!(value.is_nan() || f16::encode_stochastic(value, random) == code);
                let value = bf16::decode(code);
                assert!(value.is_nan() || bf16::encode_stochastic(value, random) == code);
            }
        }
    }
}
