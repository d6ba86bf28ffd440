//! Block-wise formats on the host, in the layout of `shaders/packing/slot_8.wgsl`, `slot_4.wgsl` and
//! `shaders/blocks`: 256 elements after 256 elements, their codes and behind them the scales of their
//! blocks.
//!
//! A block of eight bits has a byte for each code, in order. Of four bits, byte 4 w + 2 h + b holds the
//! elements 128 h + 4 w + 2 b, in its upper half, and the next. Blocks of 32 have scales in bf16, that
//! of block k behind that of block k - 4, and others in f32.

mod companded;
mod dynamic;
mod e4m3;
mod nibble;

use crate::{StateFormat, layout::TILE_ELEMS};

/// The frame's block: the elements that lie together.
const SPAN: usize = 256;
const _: () = assert!(SPAN as u64 == TILE_ELEMS);

/// How a block-wise format rounds.
#[derive(Clone, Copy, Debug)]
struct Codec {
    /// Elements that share a scale.
    block_elems: usize,
    /// The scale of a block whose largest magnitude, finite and not 0, is this.
    scale: fn(f32) -> f32,
    /// The code of a finite value in a block of this scale, which is finite and not 0.
    code: fn(f32, f32) -> u8,
    /// The value of a code in a block of this scale.
    value: fn(u8, f32) -> f32,
    /// The code of 0, and that of all values in a block whose scale is not finite.
    ends: (u8, u8),
}

impl Codec {
    /// `None`: the format has no blocks.
    fn new(format: StateFormat, unsigned: bool) -> Option<Self> {
        Some(match (format, unsigned) {
            (StateFormat::F32 | StateFormat::Bf16, _) => return None,
            (StateFormat::Int8, false) => dynamic::SIGNED,
            (StateFormat::Int8, true) => dynamic::UNSIGNED,
            (StateFormat::Int4, false) => nibble::SIGNED,
            (StateFormat::Int4, true) => nibble::UNSIGNED,
            (StateFormat::Fp8, false) => e4m3::SIGNED,
            (StateFormat::Fp8, true) => e4m3::UNSIGNED,
            (StateFormat::Companded, false) => companded::SIGNED,
            (StateFormat::Companded, true) => companded::UNSIGNED,
        })
    }

    fn block(&self, values: &[f32]) -> (Vec<u8>, f32) {
        let absmax =
            f32::from_bits(values.iter().map(|v| v.to_bits() & 0x7fff_ffff).max().unwrap_or(0));
        if !absmax.is_finite() {
            return (vec![self.ends.1; values.len()], absmax);
        }
        let scale = if absmax == 0.0 { 0.0 } else { (self.scale)(absmax) };
        if scale == 0.0 {
            return (vec![self.ends.0; values.len()], scale);
        }
        (values.iter().map(|value| (self.code)(*value, scale)).collect(), scale)
    }
}

/// Sets the codes behind a tensor's last element to 0, in its last tile, of which so many elements exist: a
/// kernel leaves there what it likes.
pub(crate) fn clear_padding(format: StateFormat, tile: &mut [u8], elems: usize) {
    for element in elems..SPAN {
        match format {
            StateFormat::F32 | StateFormat::Bf16 => {}
            StateFormat::Int4 => {
                let (byte, shift) = nibble::place(element);
                tile[byte] &= !(15 << shift);
            }
            _ => tile[element] = 0,
        }
    }
}

/// The blocks of these values, `None` if the format has none; the last is filled up with zeros.
pub(crate) fn encode(format: StateFormat, unsigned: bool, values: &[f32]) -> Option<Vec<u8>> {
    let codec = Codec::new(format, unsigned)?;
    let mut bytes = Vec::new();
    for span in values.chunks(SPAN) {
        let mut span = span.to_vec();
        span.resize(SPAN, 0.0);
        let (mut codes, mut scales) = (Vec::with_capacity(SPAN), Vec::new());
        for block in span.chunks(codec.block_elems) {
            let (block, scale) = codec.block(block);
            codes.extend(block);
            scales.push(scale);
        }
        match format {
            StateFormat::Int4 => bytes.extend(nibble::pack(&codes)),
            _ => bytes.extend(codes),
        }
        match format {
            StateFormat::Companded => bytes.extend(companded::pack_scales(&scales)),
            _ => bytes.extend(scales.iter().flat_map(|scale| scale.to_le_bytes())),
        }
    }
    Some(bytes)
}

/// The first values of these blocks, `None` if the format has none.
pub(crate) fn decode(
    format: StateFormat,
    unsigned: bool,
    bytes: &[u8],
    len_elems: usize,
) -> Option<Vec<f32>> {
    let codec = Codec::new(format, unsigned)?;
    let span_bytes = usize::try_from(format.tile_bytes()).ok()?;
    let mut values = Vec::with_capacity(bytes.len() / span_bytes * SPAN);
    for span in bytes.chunks_exact(span_bytes) {
        let (codes, scales) = match format {
            StateFormat::Int4 => {
                let (codes, scales) = span.split_at(SPAN / 2);
                (nibble::unpack(codes), scales)
            }
            _ => (span[..SPAN].to_vec(), &span[SPAN..]),
        };
        let scales = match format {
            StateFormat::Companded => companded::unpack_scales(scales),
            _ => scales.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        };
        for (block, scale) in codes.chunks(codec.block_elems).zip(scales) {
            values.extend(block.iter().map(|code| (codec.value)(*code, scale)));
        }
    }
    values.truncate(len_elems);
    Some(values)
}

/// The nearest of ascending values, ties to the larger magnitude.
fn nearest(map: &[f32], quotient: f64) -> usize {
    let above = map.partition_point(|code| f64::from(*code) < quotient).min(map.len() - 1);
    let below = above.saturating_sub(1);
    let distance = |code: usize| (f64::from(map[code]) - quotient).abs();
    let larger = if quotient < 0.0 { below } else { above };
    match distance(below).total_cmp(&distance(above)) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Equal => larger,
        std::cmp::Ordering::Greater => above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [StateFormat; 4] =
        [StateFormat::Int8, StateFormat::Int4, StateFormat::Fp8, StateFormat::Companded];

    /// Every value that a code stands for is given its code back, at its own place.
    #[test]
    fn values_of_codes_come_back() {
        for format in FORMATS {
            for unsigned in [false, true] {
                let codec = Codec::new(format, unsigned).unwrap();
                let most: u8 = if format == StateFormat::Int4 { 15 } else { 255 };
                // Four and its root are powers of two, so that no scale is rounded.
                let (largest, scale) = codec.block(&[4.0]);
                let largest = (codec.value)(largest[0], scale);
                let mut values = Vec::new();
                for code in 0..=most {
                    let value = (codec.value)(code, scale);
                    if values.len() % codec.block_elems == 0 {
                        values.push(largest);
                    }
                    // Codes that no value gets.
                    let is_given = value.abs() <= 4.0 && !(unsigned && value < 0.0);
                    values.push(if is_given { value } else { 0.0 });
                }
                let bytes = encode(format, unsigned, &values).unwrap();
                assert_eq!(bytes.len() as u64, format.size_bytes(values.len() as u64));
                let found = decode(format, unsigned, &bytes, values.len()).unwrap();
                assert_eq!(found, values, "{format} {unsigned}");
            }
        }
    }

    #[test]
    fn zero_blocks_and_lengths() {
        for format in FORMATS {
            for unsigned in [false, true] {
                for len in [0, 1, 31, 255, 256, 300] {
                    let zeros = vec![0.0; len];
                    let bytes = encode(format, unsigned, &zeros).unwrap();
                    assert_eq!(bytes.len() as u64, format.size_bytes(len as u64));
                    assert_eq!(decode(format, unsigned, &bytes, len).unwrap(), zeros, "{format}");
                }
            }
        }
        assert!(encode(StateFormat::Bf16, false, &[1.0]).is_none());
    }

    #[test]
    fn what_is_not_finite_takes_its_block_and_no_other() {
        for format in FORMATS {
            for unsigned in [false, true] {
                for value in [f32::NAN, f32::INFINITY] {
                    let mut values = vec![1.0; 512];
                    values[130] = value;
                    let bytes = encode(format, unsigned, &values).unwrap();
                    let found = decode(format, unsigned, &bytes, 512).unwrap();
                    let block = Codec::new(format, unsigned).unwrap().block_elems;
                    for (index, found) in found.iter().enumerate() {
                        let same = index / block == 130 / block;
                        assert!(if same { !found.is_finite() } else { *found == 1.0 }, "{format}");
                    }
                }
            }
        }
    }
}
