//! Between the GPU's blocks and a file's codes and scales.
//!
//! The GPU has spans of 256 elements, each its codes and behind them its scales, in the order of
//! [`fallline::Quantizer`]. A file has all codes of a tensor in one row, and all scales in another, in
//! the order of the elements, without the rest of the last span.

use super::format::CodeFormat;

/// Elements of a span.
pub(super) const SPAN: usize = 256;

/// Codes and scales of a tensor, or of a part of it that begins at a multiple of 256 elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) codes: Vec<u8>,
    pub(super) scales: Vec<u8>,
}

/// Adds those of `len` elements in these blocks.
pub(super) fn split(format: CodeFormat, blocks: &[u8], len: usize, rows: &mut Rows) {
    let (codes_end, scales_end) =
        (rows.codes.len() + format.codes_bytes(len), rows.scales.len() + format.scales_bytes(len));
    for span in blocks.chunks_exact(format.span_bytes()) {
        let (codes, scales) = span.split_at(format.codes_bytes(SPAN));
        match format {
            CodeFormat::Int4 => rows.codes.extend((0..codes.len()).map(|i| codes[int4_place(i)])),
            _ => rows.codes.extend(codes),
        }
        match format {
            CodeFormat::Companded => {
                let scales = scales.as_chunks::<2>().0;
                rows.scales.extend((0..scales.len()).flat_map(|i| scales[companded_place(i)]));
            }
            _ => rows.scales.extend(scales),
        }
    }
    rows.codes.truncate(codes_end);
    rows.scales.truncate(scales_end);
    if let (CodeFormat::Int4, 1, Some(last)) = (format, len % 2, rows.codes.last_mut()) {
        // Its lower half is no element's.
        *last &= 0xf0;
    }
}

/// The blocks of these codes and scales; zeros fill up the last.
pub(super) fn join(format: CodeFormat, codes: &[u8], scales: &[u8]) -> Vec<u8> {
    let (codes_bytes, scales_bytes) = (format.codes_bytes(SPAN), format.scales_bytes(SPAN));
    let mut blocks = vec![0; codes.len().div_ceil(codes_bytes) * format.span_bytes()];
    let mut scales = scales.chunks(scales_bytes.max(1));
    for (span, codes) in blocks.chunks_exact_mut(format.span_bytes()).zip(codes.chunks(codes_bytes))
    {
        let (to_codes, to_scales) = span.split_at_mut(codes_bytes);
        let scales = scales.next().unwrap_or_default();
        match format {
            CodeFormat::Int4 => {
                for (i, byte) in codes.iter().enumerate() {
                    to_codes[int4_place(i)] = *byte;
                }
            }
            _ => to_codes[..codes.len()].copy_from_slice(codes),
        }
        match format {
            CodeFormat::Companded => {
                let to_scales = to_scales.as_chunks_mut::<2>().0;
                for (i, scale) in scales.as_chunks::<2>().0.iter().enumerate() {
                    to_scales[companded_place(i)] = *scale;
                }
            }
            _ => to_scales[..scales.len()].copy_from_slice(scales),
        }
    }
    blocks
}

/// The byte of elements 2i and 2i + 1 of a span.
const fn int4_place(i: usize) -> usize {
    let (half, word, byte) = (i / 64, i % 64 / 2, i % 2);
    4 * word + 2 * half + byte
}

/// The place of the scale of block i of a span.
const fn companded_place(i: usize) -> usize {
    i % 4 * 2 + i / 4
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use fallline::StateFormat;

    use super::*;

    /// Bytes that tell their places apart.
    fn numbers(len: usize, step: u8) -> Vec<u8> {
        (0..len)
            .scan(0u8, |byte, _| Some(std::mem::replace(byte, byte.wrapping_add(step))))
            .collect()
    }

    #[test]
    fn rows_come_back_from_blocks() {
        for format in CodeFormat::value_variants() {
            for len in [0, 1, 2, 31, 33, 127, 128, 129, 255, 256, 257, 1000] {
                let mut codes = numbers(format.codes_bytes(len), 7);
                if let (CodeFormat::Int4, 1, Some(last)) = (format, len % 2, codes.last_mut()) {
                    *last &= 0xf0;
                }
                let rows = Rows { codes, scales: numbers(format.scales_bytes(len), 11) };
                let blocks = join(*format, &rows.codes, &rows.scales);
                let size = StateFormat::from(*format).blocks_size_bytes(len as u64);
                assert_eq!(blocks.len() as u64, size, "{format} {len}");
                let mut found = Rows::default();
                split(*format, &blocks, len, &mut found);
                assert_eq!(found, rows, "{format} {len}");
            }
        }
    }

    #[test]
    fn parts_are_added_to_each_other() {
        let blocks = numbers(3 * CodeFormat::Int4.span_bytes(), 5);
        let (mut whole, mut parts) = (Rows::default(), Rows::default());
        split(CodeFormat::Int4, &blocks, 700, &mut whole);
        let (first, rest) = blocks.split_at(CodeFormat::Int4.span_bytes());
        split(CodeFormat::Int4, first, 256, &mut parts);
        split(CodeFormat::Int4, rest, 444, &mut parts);
        assert_eq!(parts, whole);
        assert_eq!((whole.codes.len(), whole.scales.len()), (350, 6 * 4));
    }

    #[test]
    fn places_are_those_of_the_quantizer() {
        // Byte 4w + 2h + b has the elements 128h + 4w + 2b and the next.
        for (half, word, byte) in [(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 31, 1), (1, 31, 1)] {
            let element = 128 * half + 4 * word + 2 * byte;
            assert_eq!(int4_place(element / 2), 4 * word + 2 * half + byte);
        }
        let mut order = [0; 8];
        (0..8).for_each(|i| order[companded_place(i)] = i);
        assert_eq!(order, [0, 4, 1, 5, 2, 6, 3, 7]);
    }
}
