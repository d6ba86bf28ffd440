//! Twin of `shaders/formats/f16.wgsl`.

/// The value of a code.
#[must_use]
pub fn decode(code: u16) -> f32 {
    let magnitude = u32::from(code & 0x7fff);
    let bits = if magnitude >= 0x7c00 {
        (magnitude << 13) + (224 << 23)
    } else if magnitude < 0x400 {
        (magnitude as f32 * 2f32.powi(-24)).to_bits()
    } else {
        (magnitude << 13) + (112 << 23)
    };
    f32::from_bits(bits | u32::from(code & 0x8000) << 16)
}

/// The bits of a magnitude, and how many of them are dropped.
fn fraction(magnitude: u32) -> (u32, u32) {
    let exponent = magnitude >> 23;
    if exponent >= 113 {
        return (magnitude - (112 << 23), 13);
    }
    let dropped = 126 - exponent;
    let shift = dropped.min(31);
    (((magnitude & 0x7f_ffff) | 0x80_0000) >> (dropped - shift).min(31), shift)
}

fn code(bits: u32, rounded: u32) -> u16 {
    let magnitude = bits & 0x7fff_ffff;
    let code = if magnitude > 0x7f80_0000 {
        0x7e00 | (magnitude >> 13) & 0x3ff
    } else if magnitude >= 0x4780_0000 {
        0x7c00
    } else {
        rounded
    };
    (code | (bits >> 16) & 0x8000) as u16
}

/// The nearest code, ties to the even one.
#[must_use]
pub fn encode(value: f32) -> u16 {
    let bits = value.to_bits();
    let (exact, shift) = fraction(bits & 0x7fff_ffff);
    let half = 1 << (shift - 1);
    code(bits, (exact + (half - 1) + (exact >> shift & 1)) >> shift)
}

/// Away from zero if the dropped bits and as many upper random ones carry.
#[must_use]
pub fn encode_stochastic(value: f32, random: u32) -> u16 {
    let bits = value.to_bits();
    let (exact, shift) = fraction(bits & 0x7fff_ffff);
    code(bits, (exact + (random >> (32 - shift))) >> shift)
}
