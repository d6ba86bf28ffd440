//! Eight companded bits, as `shaders/codecs/state_companded.wgsl` has them.

use super::Codec;
use crate::rules::narrow;

pub(super) const SIGNED: Codec = Codec {
    scale: |absmax| round_up(absmax, 0x7f7f_0000),
    code: |value, scale| {
        let n = f64::from(value) / f64::from(scale);
        let code = round(127.0 * 2.0 * n.abs() / (1.0 + n.abs()), 127);
        if n < 0.0 { code.wrapping_neg() } else { code }
    },
    value: |code, scale| {
        let code = f32::from(code.cast_signed());
        code / (254.0 - code.abs()) * scale
    },
    ends: (0, 127),
};

/// A value above 0 never becomes 0.
pub(super) const UNSIGNED: Codec = Codec {
    scale: |absmax| round_up(narrow(f64::from(absmax).sqrt()), 0x5f7f_0000),
    code: |value, scale| {
        let root = f64::from(value).sqrt() / f64::from(scale);
        round(255.0 * root, 255).max(u8::from(value > 0.0))
    },
    value: |code, scale| {
        let root = f32::from(code) / 255.0 * scale;
        root * root
    },
    ends: (0, 255),
};

/// To bf16, away from zero; at most to the largest of which the value, or the square, is finite.
fn round_up(value: f32, most: u32) -> f32 {
    f32::from_bits(((value.to_bits() + 0xffff) & 0xffff_0000).min(most))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the largest code"
)]
fn round(code: f64, most: u8) -> u8 {
    (code + 0.5).floor().clamp(0.0, f64::from(most)) as u8
}
