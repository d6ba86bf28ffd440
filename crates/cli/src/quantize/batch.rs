//! What is on the GPU at one time.

use std::ops::Range;

use fallline::{
    Gpu, StateFormat,
    wgpu::{CommandEncoder, CommandEncoderDescriptor},
};

/// Elements that lie together on the GPU.
#[allow(clippy::cast_possible_truncation, reason = "256")]
const SPAN: usize = StateFormat::TILE_ELEMS as usize;

/// A part of a tensor that goes to the GPU at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which tensor.
    pub(super) tensor: usize,
    /// Which of its elements; begins at a multiple of 256.
    pub(super) elems: Range<usize>,
}

/// Elements on the GPU at one time: 16 MiB in f32, and their blocks.
pub(super) const BATCH_ELEMS: usize = 1 << 22;

/// Tensors of these lengths, in batches of at most `most` elements in whole spans. A tensor has at most one
/// piece in a batch, and none if it is empty.
pub(super) fn batches(lens: &[usize], most: usize) -> Vec<Vec<Piece>> {
    let (mut batches, mut batch, mut room) = (Vec::new(), Vec::new(), most);
    for (tensor, &len) in lens.iter().enumerate() {
        let mut start = 0;
        while start < len {
            let end = len.min(start + room);
            batch.push(Piece { tensor, elems: start..end });
            room -= (end - start).next_multiple_of(SPAN);
            start = end;
            if room == 0 {
                batches.push(std::mem::take(&mut batch));
                room = most;
            }
        }
    }
    batches.extend((!batch.is_empty()).then_some(batch));
    batches
}

/// Runs what is recorded.
pub(super) fn submit(gpu: &Gpu, record: impl FnOnce(&mut CommandEncoder)) {
    let label = Some("fallline quantize");
    let mut encoder = gpu.device().create_command_encoder(&CommandEncoderDescriptor { label });
    record(&mut encoder);
    gpu.queue().submit([encoder.finish()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fill_batches_and_cover_every_element_once() {
        for lens in [&[][..], &[0], &[5], &[512], &[511, 1, 0, 2000], &[1; 9], &[256, 768, 1]] {
            let batches = batches(lens, 512);
            let mut next = vec![0; lens.len()];
            for batch in &batches {
                let spans =
                    batch.iter().map(|piece| piece.elems.len().div_ceil(SPAN)).sum::<usize>();
                assert!((1..=2).contains(&spans), "{batches:?}");
                for Piece { tensor, elems } in batch {
                    assert_eq!(elems.start, next[*tensor], "{batches:?}");
                    assert!(elems.start % SPAN == 0 && !elems.is_empty(), "{batches:?}");
                    next[*tensor] = elems.end;
                }
            }
            assert_eq!(next, lens);
            // Only the last may have room.
            let full = |batch: &Vec<Piece>| {
                batch.iter().map(|piece| piece.elems.len().div_ceil(SPAN)).sum::<usize>() == 2
            };
            assert!(batches.iter().rev().skip(1).all(full), "{batches:?}");
        }
    }
}
