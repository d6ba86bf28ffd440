//! Block-wise 8-bit states on the host, in the layout of `shaders/codecs/state_int8.wgsl`: for each
//! block of 256 elements their codes, four to a word, and the block's largest magnitude as f32.

use std::sync::LazyLock;

const CODES: usize = 256;
/// Elements of a block, `BLOCK_ELEMS`.
const LEN: usize = 256;
const BLOCK_BYTES: usize = LEN + 4;

/// Which of the two books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Book {
    Signed,
    Unsigned,
}

/// bitsandbytes' `create_dynamic_map`: in decade i, from 10^(i - 7) to 10^(i - 6), the middles of
/// 2^i (unsigned: 2^(i + 1)) equal parts, of both signs in the signed book; and 0 and 1.
fn create_dynamic_map(book: Book) -> [f32; CODES] {
    let mut values = vec![0.0, 1.0];
    for i in 0..7 {
        let parts = 1 << if book == Book::Signed { i } else { i + 1 };
        for part in 0..parts {
            let middle = 0.1 + 0.9 * (f64::from(part) + 0.5) / f64::from(parts);
            let value = 10f64.powi(i - 6) * middle;
            values.push(value);
            if book == Book::Signed {
                values.push(-value);
            }
        }
    }
    values.sort_by(f64::total_cmp);
    let mut map = [0.0; CODES];
    for (entry, value) in map.iter_mut().zip(values) {
        *entry = crate::rules::narrow(value);
    }
    map
}

impl Book {
    /// The value of each code, by 1.
    pub(crate) fn map(self) -> &'static [f32; CODES] {
        static SIGNED: LazyLock<[f32; CODES]> = LazyLock::new(|| create_dynamic_map(Book::Signed));
        static UNSIGNED: LazyLock<[f32; CODES]> =
            LazyLock::new(|| create_dynamic_map(Book::Unsigned));
        match self {
            Book::Signed => &SIGNED,
            Book::Unsigned => &UNSIGNED,
        }
    }

    /// The code nearest to `value / absmax`, ties to the larger magnitude; a negative value never
    /// becomes 0, nor in the unsigned book a positive one.
    fn code(self, value: f32, absmax: f32) -> u8 {
        let map = self.map();
        let quotient = f64::from(value) / f64::from(absmax);
        let above = map.partition_point(|code| f64::from(*code) < quotient).min(CODES - 1);
        let below = above.saturating_sub(1);
        let distance = |code: usize| (f64::from(map[code]) - quotient).abs();
        let larger = if quotient < 0.0 { below } else { above };
        let nearest = match distance(below).total_cmp(&distance(above)) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Equal => larger,
            std::cmp::Ordering::Greater => above,
        };
        let is_zero = map[nearest] == 0.0;
        let nearest = match self {
            Book::Signed if quotient < 0.0 && is_zero => nearest - 1,
            Book::Unsigned if quotient > 0.0 && is_zero => 1,
            _ => nearest,
        };
        u8::try_from(nearest).unwrap_or(u8::MAX)
    }

    /// The blocks of these values; the last is filled up with zeros.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(values.len().div_ceil(LEN) * BLOCK_BYTES);
        for block in values.chunks(LEN) {
            let absmax =
                f32::from_bits(block.iter().map(|v| v.to_bits() & 0x7fff_ffff).max().unwrap_or(0));
            let zero = self.map().iter().position(|code| *code == 0.0).unwrap_or(0);
            let code = |value: &f32| match absmax {
                absmax if !absmax.is_finite() => u8::MAX,
                0.0 => u8::try_from(zero).unwrap_or(0),
                absmax => self.code(*value, absmax),
            };
            let end = bytes.len() + LEN;
            bytes.extend(block.iter().map(code));
            bytes.resize(end, code(&0.0));
            bytes.extend(absmax.to_le_bytes());
        }
        bytes
    }

    /// The first values of these blocks.
    pub(crate) fn decode(self, blocks: &[u8], len_elems: usize) -> Vec<f32> {
        let block = |block: &[u8]| -> Vec<f32> {
            let (codes, absmax) = block.split_at(LEN);
            let absmax = f32::from_le_bytes([absmax[0], absmax[1], absmax[2], absmax[3]]);
            codes.iter().map(|code| self.map()[usize::from(*code)] * absmax).collect()
        };
        let mut values: Vec<f32> = blocks.chunks_exact(BLOCK_BYTES).flat_map(block).collect();
        values.truncate(len_elems);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of bitsandbytes' maps (which torchao's equal), up to the last bit: theirs come from f32.
    #[test]
    fn books_are_the_published_ones() {
        let near = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let ulps = found.to_bits().abs_diff(expected.to_bits());
                assert!(ulps <= 1, "{found} {expected}");
            }
        };
        let signed = Book::Signed.map();
        near(&signed[..3], &[-0.992_968_75, -0.978_906_2, -0.964_843_75]);
        near(&signed[125..131], &[-3.25e-6, -5.5e-7, 0.0, 5.5e-7, 3.25e-6, 7.75e-6]);
        near(&signed[253..], &[0.978_906_2, 0.992_968_75, 1.0]);
        let unsigned = Book::Unsigned.map();
        near(&unsigned[..4], &[0.0, 3.25e-7, 7.75e-7, 2.125e-6]);
        near(&unsigned[253..], &[0.989_453_1, 0.996_484_4, 1.0]);
        for map in [signed, unsigned] {
            assert!(map.is_sorted_by(|a, b| a < b), "256 different codes");
        }
    }

    #[test]
    fn every_code_is_given_back() {
        for book in [Book::Signed, Book::Unsigned] {
            let values: Vec<f32> = book.map().iter().map(|code| code * 3.5).collect();
            let bytes = book.encode(&values);
            assert_eq!(bytes.len(), BLOCK_BYTES);
            assert!(bytes[..LEN].iter().enumerate().all(|(code, byte)| code == usize::from(*byte)));
            assert_eq!(book.decode(&bytes, LEN), values);
        }
        assert_eq!(Book::Signed.decode(&Book::Signed.encode(&[0.0; 300]), 300), [0.0; 300]);
        let tiny = Book::Signed.encode(&[1.0, -1e-20, 1e-20]);
        assert_eq!(tiny[..3], [255, 126, 127]);
    }
}
