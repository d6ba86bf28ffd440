//! Parameters in bf16 and the remainders beside them, on the host.

/// The bytes of bf16 parameters, and of their remainders with one byte each (of the values rounded to 24
/// bits) or two.
pub(crate) fn split_all(values: &[f32], rest_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut codes, mut rests) = (Vec::new(), Vec::new());
    for value in values {
        let (code, rest) = split(if rest_bytes == 1 { round24(*value) } else { *value });
        codes.extend(code.to_le_bytes());
        rests.extend_from_slice(&rest.to_le_bytes()[2 - rest_bytes..]);
    }
    (codes, rests)
}

/// The values of these.
pub(crate) fn join_all(codes: &[u8], rests: &[u8], rest_bytes: usize) -> Vec<f32> {
    let rest = |bytes: &[u8]| match *bytes {
        [low, high] => u16::from_le_bytes([low, high]),
        _ => u16::from(bytes[0]) << 8,
    };
    let codes = codes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    codes.zip(rests.chunks(rest_bytes)).map(|(code, bytes)| join(code, rest(bytes))).collect()
}

/// The parameter in bf16 whose remainder `precision/remainder.wgsl` keeps: the nearest code, ties away
/// from zero; and the remainder.
fn split(value: f32) -> (u16, u16) {
    let bits = value.to_bits();
    if value.is_nan() {
        return (upper(bits) | 0x40, 0);
    }
    let code = upper(bits.wrapping_add(0x8000));
    (code, lower(bits.wrapping_sub(u32::from(code) << 16)))
}

/// Rounded to the upper 24 bits, ties away from zero.
fn round24(value: f32) -> f32 {
    if value.is_nan() { value } else { f32::from_bits((value.to_bits() + 0x80) & 0xffff_ff00) }
}

/// The f32 of a parameter in bf16 and its remainder.
fn join(code: u16, remainder: u16) -> f32 {
    let magnitude = i32::from(code & 0x7fff) << 16;
    // What the caller set to zero or infinity may have a remainder that leads out of the numbers.
    let most = if code & 0x7fff == 0x7f80 { 0x7f80_0000 } else { i32::MAX };
    let magnitude = (magnitude + i32::from(remainder.cast_signed())).clamp(0, most);
    f32::from_bits(u32::from(code & 0x8000) << 16 | magnitude.cast_unsigned())
}

fn upper(bits: u32) -> u16 {
    lower(bits >> 16)
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn lower(bits: u32) -> u16 {
    bits as u16
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parameter_and_remainder_are_the_f32(bits: u32) {
            let value = f32::from_bits(bits);
            let (code, remainder) = split(value);
            let joined = join(code, remainder);
            prop_assert!(value.is_nan() && joined.is_nan() || joined.to_bits() == bits);
            // The nearest code, unless there are two.
            let nearest = bf16::from_f32(value).to_bits();
            prop_assert!(code == nearest || bits & 0xffff == 0x8000);
        }
    }

    #[test]
    fn ties_go_away_from_zero_and_zero_stays_a_number() {
        assert_eq!(split(f32::from_bits(0x3f80_8000)), (0x3f81, 0x8000));
        assert_eq!(split(f32::from_bits(0xbf7f_8000)), (0xbf80, 0x8000));
        assert_eq!(split(f32::MAX), (0x7f80, 0xffff));
        assert_eq!(join(0, 0xffff), 0.0, "somebody set the parameter to zero");
        assert_eq!(join(0x7f80, 3), f32::INFINITY, "and to infinity");
    }
}
