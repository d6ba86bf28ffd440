//! The maps of four bits, as `shaders/formats/nibble.wgsl` has them.

use std::sync::LazyLock;

use super::{Codec, SPAN, dynamic::create_dynamic_map, nearest};

/// torchao's `create_dynamic_map(True, 3, 4)`.
static SIGNED_MAP: LazyLock<[f32; 16]> = LazyLock::new(|| create_dynamic_map(true, 3));

pub(super) const SIGNED: Codec = Codec {
    block_elems: 128,
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

/// Where the code of an element lies: which byte, and by how many bits from its lower end.
pub(super) fn place(elem: usize) -> (usize, u32) {
    let (half, rest) = (elem / 128, elem % 128);
    (rest / 4 * 4 + half * 2 + rest % 4 / 2, if elem.is_multiple_of(2) { 4 } else { 0 })
}

/// Two codes to a byte.
pub(super) fn pack(codes: &[u8]) -> [u8; SPAN / 2] {
    let mut bytes = [0; SPAN / 2];
    for (elem, code) in codes.iter().enumerate() {
        let (byte, shift) = place(elem);
        bytes[byte] |= code << shift;
    }
    bytes
}

/// The codes of these bytes.
pub(super) fn unpack(bytes: &[u8]) -> Vec<u8> {
    (0..SPAN).map(place).map(|(byte, shift)| bytes[byte] >> shift & 15).collect()
}
