//! fp8, as `shaders/codecs/state_fp8.wgsl` and `shaders/formats/e4m3.wgsl` have it.

use super::Codec;

pub(super) const SIGNED: Codec = Codec {
    scale: |absmax| (absmax / 448.0).min(f32::from_bits(0x7b12_4924)),
    code: |value, scale| encode(value / scale),
    value: |code, scale| decode(code) * scale,
    ends: (0, 0x7f),
};

/// A value above 0 never becomes 0.
pub(super) const UNSIGNED: Codec =
    Codec { code: |value, scale| encode(value / scale).max(u8::from(value > 0.0)), ..SIGNED };

/// The nearest code, ties to the even one; beyond 448 to 448.
fn encode(value: f32) -> u8 {
    let magnitude = value.abs();
    // The codes' values ascend, and the code of an even mantissa is even.
    let (mut low, mut high) = (0u8, 0x7eu8);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if decode(middle) <= magnitude { low = middle } else { high = middle }
    }
    let (below, above) = (magnitude - decode(low), decode(high) - magnitude);
    let up = above < below || above == below && low % 2 == 1;
    (if up { high } else { low }) | if value.is_sign_negative() { 0x80 } else { 0 }
}

fn decode(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}
