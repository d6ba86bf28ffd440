//! Twin of `shaders/formats/bf16.wgsl` and of the pair in `shaders/precision/remainder.wgsl`.

/// The value of a code.
#[must_use]
pub fn decode(code: u16) -> f32 {
    f32::from_bits(u32::from(code) << 16)
}

fn code(bits: u32, rounded: u32) -> u16 {
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    (if is_nan { bits >> 16 | 0x40 } else { rounded >> 16 }) as u16
}

/// The nearest code, ties to the even one.
#[must_use]
pub fn encode(value: f32) -> u16 {
    let bits = value.to_bits();
    code(bits, bits.wrapping_add(0x7fff).wrapping_add(bits >> 16 & 1))
}

/// Away from zero if the lower half and the upper half of `random` carry.
#[must_use]
pub fn encode_stochastic(value: f32, random: u32) -> u16 {
    let bits = value.to_bits();
    code(bits, bits.wrapping_add(random >> 16))
}

/// The upper 24 bits, away from zero if the lower 8 and the upper 8 of `random` carry: the number that
/// `shaders/precision/remainder8.wgsl` keeps.
#[must_use]
pub fn round24_stochastic(value: f32, random: u32) -> f32 {
    f32::from_bits(value.to_bits().wrapping_add(random >> 24) & 0xffff_ff00)
}

/// The nearest code, ties away from zero: the parameter beside a remainder.
#[must_use]
pub fn encode_away(value: f32) -> u16 {
    let bits = value.to_bits();
    code(bits, bits.wrapping_add(0x8000))
}
