//! Block-wise formats on the host: how values become codes and scales and back. Where these lie says
//! [`layout`].

mod companded;
mod dynamic;
mod e4m3;
mod layout;
mod nibble;

pub use layout::BlockScales;

use crate::StateFormat;

/// How a block-wise format rounds.
#[derive(Clone, Copy, Debug)]
struct Codec {
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

/// The blocks of these values, `None` if the format has none; the last is filled up with zeros.
pub(crate) fn encode(format: StateFormat, unsigned: bool, values: &[f32]) -> Option<Vec<u8>> {
    let (codec, form) = (Codec::new(format, unsigned)?, format.scales()?);
    let mut values = values.to_vec();
    values
        .resize(values.len().next_multiple_of(usize::try_from(StateFormat::TILE_ELEMS).ok()?), 0.0);
    let (mut codes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for block in values.chunks(usize::try_from(form.block_elems).ok()?) {
        let (block, scale) = codec.block(block);
        codes.extend(block);
        scales.push(scale);
    }
    if format.code_bits() == 4 {
        codes = codes.as_chunks::<2>().0.iter().map(|[first, next]| first << 4 | next).collect();
    }
    format.join_blocks(values.len() as u64, &codes, &form.dtype.encode(&scales)).ok()
}

/// The first values of these blocks, `None` if the format has none.
pub(crate) fn decode(
    format: StateFormat,
    unsigned: bool,
    bytes: &[u8],
    len_elems: usize,
) -> Option<Vec<f32>> {
    let (codec, form) = (Codec::new(format, unsigned)?, format.scales()?);
    let tiles = bytes.len() as u64 / format.tile_bytes();
    let whole = usize::try_from(tiles * format.tile_bytes()).ok()?;
    let (mut codes, scales) =
        format.split_blocks(tiles * StateFormat::TILE_ELEMS, &bytes[..whole]).ok()?;
    if format.code_bits() == 4 {
        codes = codes.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    }
    let mut values = Vec::with_capacity(codes.len());
    let blocks = codes.chunks(usize::try_from(form.block_elems).ok()?);
    for (block, scale) in blocks.zip(form.dtype.decode(&scales)) {
        values.extend(block.iter().map(|code| (codec.value)(*code, scale)));
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

    /// The formats that have blocks, and how many elements these have.
    fn formats() -> impl Iterator<Item = (StateFormat, usize)> {
        let form = |format: &StateFormat| {
            Some((*format, usize::try_from(format.scales()?.block_elems).unwrap()))
        };
        StateFormat::ALL.iter().filter_map(form)
    }

    /// Every value that a code stands for is given its code back, at its own place.
    #[test]
    fn values_of_codes_come_back() {
        for (format, block_elems) in formats() {
            for unsigned in [false, true] {
                let codec = Codec::new(format, unsigned).unwrap();
                let most: u8 = if format == StateFormat::Int4 { 15 } else { 255 };
                // Four and its root are powers of two, so that no scale is rounded.
                let (largest, scale) = codec.block(&[4.0]);
                let largest = (codec.value)(largest[0], scale);
                let mut values = Vec::new();
                for code in 0..=most {
                    let value = (codec.value)(code, scale);
                    if values.len() % block_elems == 0 {
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
        for (format, _) in formats() {
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
        for (format, block) in formats() {
            for unsigned in [false, true] {
                for value in [f32::NAN, f32::INFINITY] {
                    let mut values = vec![1.0; 512];
                    values[130] = value;
                    let bytes = encode(format, unsigned, &values).unwrap();
                    let found = decode(format, unsigned, &bytes, 512).unwrap();
                    for (index, found) in found.iter().enumerate() {
                        let same = index / block == 130 / block;
                        assert!(if same { !found.is_finite() } else { *found == 1.0 }, "{format}");
                    }
                }
            }
        }
    }
}
