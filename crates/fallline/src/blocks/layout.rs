//! Where codes and scales lie: in tiles on the GPU, in rows in a file.

use crate::{Dtype, Error, Result, StateFormat, layout::TILE_ELEMS};

/// The scales of a [`StateFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockScales {
    /// Their format.
    pub dtype: Dtype,
    /// How many consecutive elements share one: a block. A divisor of 256.
    pub block_elems: u64,
}

/// **Blocks** are tiles of 256 elements, the last filled up with what need not be looked at. A tile is its codes
/// and behind them its scales, little-endian: so kernels want it, [`Quantizer`](crate::Quantizer) has the table.
/// **Rows** are all codes in the order of the elements, and all scales in that of their blocks, without what
/// fills up: so files want it. Of two codes of four bits in a byte the first is in the upper half.
///
/// ```
/// use fallline::StateFormat;
///
/// let format = StateFormat::Int4;
/// let (codes, scales) = (vec![0x7f; 150], vec![0; 3 * 4]); // 300 elements, a scale for each 128
/// let blocks = format.join_blocks(300, &codes, &scales)?;
/// assert_eq!(blocks.len() as u64, format.blocks_size_bytes(300));
/// assert_eq!(format.split_blocks(300, &blocks)?, (codes, scales));
/// # Ok::<(), fallline::Error>(())
/// ```
impl StateFormat {
    /// Elements of a tile: what lies together in every format.
    pub const TILE_ELEMS: u64 = TILE_ELEMS;

    /// Bits of a code: of f32 and bf16, which have no other codes, those of a number.
    #[must_use]
    pub const fn code_bits(self) -> u64 {
        match self {
            StateFormat::F32 => 32,
            StateFormat::Bf16 => 16,
            StateFormat::Int8 | StateFormat::Fp8 | StateFormat::Companded => 8,
            StateFormat::Int4 => 4,
        }
    }

    /// The scales, if there are any.
    #[must_use]
    pub const fn scales(self) -> Option<BlockScales> {
        let (dtype, block_elems) = match self {
            StateFormat::F32 | StateFormat::Bf16 => return None,
            StateFormat::Int8 | StateFormat::Fp8 => (Dtype::F32, 256),
            StateFormat::Int4 => (Dtype::F32, 128),
            StateFormat::Companded => (Dtype::Bf16, 32),
        };
        Some(BlockScales { dtype, block_elems })
    }

    /// Bytes of the codes of n elements, as a row.
    #[must_use]
    pub const fn codes_size_bytes(self, len_elems: u64) -> u64 {
        match self.code_bits() {
            4 => len_elems.div_ceil(2),
            bits => len_elems.saturating_mul(bits / 8),
        }
    }

    /// Bytes of the scales of n elements, as a row.
    #[must_use]
    pub const fn scales_size_bytes(self, len_elems: u64) -> u64 {
        match self.scales() {
            None => 0,
            Some(BlockScales { dtype, block_elems }) => {
                len_elems.div_ceil(block_elems).saturating_mul(dtype.size_bytes())
            }
        }
    }

    /// Bytes of a tensor of this length in whole tiles: what a [`Quantizer`](crate::Quantizer) writes.
    #[must_use]
    pub const fn blocks_size_bytes(self, len_elems: u64) -> u64 {
        len_elems.div_ceil(Self::TILE_ELEMS).saturating_mul(self.tile_bytes())
    }

    /// Bytes of a tile.
    pub(crate) const fn tile_bytes(self) -> u64 {
        self.codes_size_bytes(Self::TILE_ELEMS) + self.scales_size_bytes(Self::TILE_ELEMS)
    }

    /// The codes and scales of a tensor of this length in rows, from its blocks. What a kernel left behind the
    /// last element is not in them. Of a part of a tensor that begins at a multiple of 256 elements, they are a
    /// part of its rows.
    ///
    /// # Errors
    /// [`Error::BlockBytes`] if these are not [as many](Self::blocks_size_bytes) as the blocks have.
    pub fn split_blocks(self, len_elems: u64, blocks: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        self.check_bytes("blocks", len_elems, self.blocks_size_bytes(len_elems), blocks)?;
        let (codes_bytes, scales_bytes) = self.tile_parts();
        let (mut codes, mut scales) = (Vec::with_capacity(blocks.len()), Vec::new());
        for tile in blocks.chunks_exact(codes_bytes + scales_bytes) {
            let (of_codes, of_scales) = tile.split_at(codes_bytes);
            codes.extend((0..codes_bytes).map(|byte| of_codes[self.code_byte(byte)]));
            scales.extend((0..scales_bytes).map(|byte| of_scales[self.scale_byte(byte)]));
        }
        codes.truncate(number(self.codes_size_bytes(len_elems)));
        scales.truncate(number(self.scales_size_bytes(len_elems)));
        if let (4, 1, Some(last)) = (self.code_bits(), len_elems % 2, codes.last_mut()) {
            // Its lower half is no element's.
            *last &= 0xf0;
        }
        Ok((codes, scales))
    }

    /// The blocks of a tensor of this length, from its codes and scales in rows; zeros fill up the last tile.
    ///
    /// # Errors
    /// [`Error::BlockBytes`] if these are not as many as the [codes](Self::codes_size_bytes) and
    /// [scales](Self::scales_size_bytes) have.
    pub fn join_blocks(self, len_elems: u64, codes: &[u8], scales: &[u8]) -> Result<Vec<u8>> {
        self.check_bytes("codes", len_elems, self.codes_size_bytes(len_elems), codes)?;
        self.check_bytes("scales", len_elems, self.scales_size_bytes(len_elems), scales)?;
        let mut blocks = vec![0; number(self.blocks_size_bytes(len_elems))];
        let (codes_bytes, scales_bytes) = self.tile_parts();
        let mut scales = scales.chunks(scales_bytes.max(1));
        let tiles = blocks.chunks_exact_mut(codes_bytes + scales_bytes);
        for (tile, codes) in tiles.zip(codes.chunks(codes_bytes)) {
            let (into_codes, into_scales) = tile.split_at_mut(codes_bytes);
            for (byte, code) in codes.iter().enumerate() {
                into_codes[self.code_byte(byte)] = *code;
            }
            for (byte, scale) in scales.next().unwrap_or_default().iter().enumerate() {
                into_scales[self.scale_byte(byte)] = *scale;
            }
        }
        Ok(blocks)
    }

    /// Sets the codes behind a tensor's last element to 0, in its last tile, of which so many elements exist: a
    /// kernel leaves there what it likes. Numbers stay: what is behind them is cut off.
    pub(crate) fn clear_padding(self, tile: &mut [u8], elems: usize) {
        for elem in elems..number(Self::TILE_ELEMS) {
            match self.code_bits() {
                8 => tile[self.code_byte(elem)] = 0,
                4 => tile[self.code_byte(elem / 2)] &= if elem % 2 == 0 { 0x0f } else { 0xf0 },
                _ => {}
            }
        }
    }

    /// Bytes of a tile's codes, and of its scales.
    fn tile_parts(self) -> (usize, usize) {
        let tile = Self::TILE_ELEMS;
        (number(self.codes_size_bytes(tile)), number(self.scales_size_bytes(tile)))
    }

    /// Where a byte of a tile's codes lies, by its place in the row. In four bits a lane has elements of both
    /// halves: byte 4 w + 2 h + b holds the elements 128 h + 4 w + 2 b and the next.
    const fn code_byte(self, byte: usize) -> usize {
        match self {
            StateFormat::Int4 => byte % 64 / 2 * 4 + byte / 64 * 2 + byte % 2,
            _ => byte,
        }
    }

    /// Where a byte of a tile's scales lies, by its place in the row. Of eight scales in 16 bits, k and k + 4
    /// share a word.
    const fn scale_byte(self, byte: usize) -> usize {
        match self {
            StateFormat::Companded => byte / 2 % 4 * 4 + byte / 8 * 2 + byte % 2,
            _ => byte,
        }
    }

    fn check_bytes(
        self,
        what: &'static str,
        len_elems: u64,
        expected: u64,
        bytes: &[u8],
    ) -> Result<()> {
        let found = bytes.len() as u64;
        if expected == found {
            return Ok(());
        }
        Err(Error::BlockBytes { format: self, what, len_elems, expected, found })
    }
}

/// A size on this host; one that it cannot have is found to be wrong, or too much to allocate.
fn number(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [u64; 12] = [0, 1, 2, 31, 33, 127, 128, 129, 255, 256, 257, 1000];

    /// Bytes that tell their places apart.
    fn numbers(len: u64, step: u8) -> Vec<u8> {
        let next = |byte: &u8| Some(byte.wrapping_add(step));
        std::iter::successors(Some(0), next).take(number(len)).collect()
    }

    #[test]
    fn rows_come_back_from_blocks() {
        for &format in StateFormat::ALL {
            for len in LENGTHS {
                let mut codes = numbers(format.codes_size_bytes(len), 7);
                if let (StateFormat::Int4, 1, Some(last)) = (format, len % 2, codes.last_mut()) {
                    *last &= 0xf0;
                }
                let scales = numbers(format.scales_size_bytes(len), 11);
                let mut blocks = format.join_blocks(len, &codes, &scales).unwrap();
                assert_eq!(blocks.len() as u64, format.blocks_size_bytes(len), "{format} {len}");
                let rows = (codes, scales);
                assert_eq!(format.split_blocks(len, &blocks).unwrap(), rows, "{format} {len}");
                // What fills up is no element's.
                let last = format.tile_bytes();
                if let Some(tile) = blocks.chunks_mut(number(last)).next_back() {
                    let kept = tile.to_vec();
                    format.clear_padding(tile, number((len - 1) % 256 + 1));
                    assert_eq!(tile, kept, "{format} {len}");
                }
            }
        }
    }

    #[test]
    fn parts_are_parts_of_the_rows() {
        for &format in StateFormat::ALL {
            let blocks = numbers(3 * format.tile_bytes(), 5);
            let whole = format.split_blocks(700, &blocks).unwrap();
            let (first, rest) = blocks.split_at(number(format.tile_bytes()));
            let (first, rest) =
                (format.split_blocks(256, first).unwrap(), format.split_blocks(444, rest).unwrap());
            assert_eq!(whole, ([first.0, rest.0].concat(), [first.1, rest.1].concat()), "{format}");
        }
    }

    #[test]
    fn places_are_those_of_the_kernels() {
        let int4 = |elem: usize| StateFormat::Int4.code_byte(elem / 2);
        for (half, word, byte) in [(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 31, 1), (1, 31, 1)] {
            assert_eq!(int4(128 * half + 4 * word + 2 * byte), 4 * word + 2 * half + byte);
        }
        let mut order = [0; 8];
        (0..8).for_each(|k| order[StateFormat::Companded.scale_byte(2 * k) / 2] = k);
        assert_eq!(order, [0, 4, 1, 5, 2, 6, 3, 7]);
        let sizes: Vec<u64> = StateFormat::ALL.iter().map(|f| f.tile_bytes()).collect();
        assert_eq!(sizes, [1024, 512, 260, 136, 260, 272]);
    }

    #[test]
    fn padding_of_a_tile_is_cleared() {
        for (format, left) in [(StateFormat::Int8, 3), (StateFormat::Companded, 3)] {
            let mut tile = vec![0xff; number(format.tile_bytes())];
            format.clear_padding(&mut tile, left);
            assert!(tile[..left].iter().chain(&tile[256..]).all(|byte| *byte == 0xff));
            assert!(tile[left..256].iter().all(|byte| *byte == 0));
        }
        let mut tile = vec![0xff; 136];
        StateFormat::Int4.clear_padding(&mut tile, 3);
        assert_eq!(tile[..4], [0xff, 0xf0, 0, 0]);
    }

    #[test]
    fn wrong_lengths_are_told() {
        let int4 = StateFormat::Int4;
        let says = |error: Error| error.to_string();
        assert_eq!(
            says(int4.split_blocks(300, &[0; 271]).unwrap_err()),
            "int4: the blocks of 300 elements must have 272 bytes, found 271"
        );
        assert_eq!(
            says(int4.join_blocks(300, &[0; 151], &[0; 12]).unwrap_err()),
            "int4: the codes of 300 elements must have 150 bytes, found 151"
        );
        assert_eq!(
            says(int4.join_blocks(300, &[0; 150], &[]).unwrap_err()),
            "int4: the scales of 300 elements must have 12 bytes, found 0"
        );
        assert!(StateFormat::Fp8.split_blocks(u64::MAX, &[]).is_err());
    }
}
