//! The maps of four bits, as `shaders/formats/nibble.wgsl` has them.

use std::sync::LazyLock;

use super::{Codec, dynamic::create_dynamic_map, nearest};

/// torchao's `create_dynamic_map(True, 3, 4)`.
static SIGNED_MAP: LazyLock<[f32; 16]> = LazyLock::new(|| create_dynamic_map(true, 3));

pub(super) const SIGNED: Codec = Codec {
    scale: |absmax| absmax,
    code: |value, absmax| number(nearest(&*SIGNED_MAP, f64::from(value) / f64::from(absmax))),
    value: |code, absmax| SIGNED_MAP[usize::from(code)] * absmax,
    ends: (7, 15),
};

/// (code + 1) / 16
pub(super) const UNSIGNED: Codec = Codec {
    code: |value, absmax| {
        let map: [f32; 16] = std::array::from_fn(|code| unsigned(number(code)));
        number(nearest(&map, f64::from(value) / f64::from(absmax)))
    },
    value: |code, absmax| unsigned(code) * absmax,
    ends: (0, 15),
    ..SIGNED
};

fn unsigned(code: u8) -> f32 {
    (f32::from(code) + 1.0) / 16.0
}

fn number(code: usize) -> u8 {
    u8::try_from(code).unwrap_or(15)
}
