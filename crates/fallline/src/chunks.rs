//! Borrowed buffers: which chunks share a dispatch, and which windows of the buffers it binds. Pure:
//! knows no GPU.
//!
//! A chunk is a block of 256 elements of a tensor, or what is left of it at the tensor's end. Chunks
//! share a dispatch if they have the same kernel, the same parameter and gradient buffers, and if
//! each binding can reach all of them. A last chunk whose length is no multiple of four is *ragged*:
//! it goes through a kernel that touches single elements.

use std::ops::Range;

use crate::{
    abi::{Chunk, Tensor, Window},
    layout::{BLOCK_ELEMS, Place, blocks_of},
};

/// A range in one of the caller's buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent {
    /// Which buffer, numbered by the caller of this module.
    pub(crate) buffer: usize,
    /// The first byte, a multiple of four elements.
    pub(crate) offset: u64,
    /// Bytes of an element: 2 or 4.
    pub(crate) elem_bytes: u64,
}

impl Lent {
    /// Bytes of four elements: the unit of the offsets that a kernel sees.
    pub(crate) fn vec4_bytes(self) -> u64 {
        self.elem_bytes * 4
    }
}

/// A tensor in borrowed buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LentTensor {
    pub(crate) param: Lent,
    pub(crate) grad: Lent,
    pub(crate) len_elems: u64,
    /// Where its state lies.
    pub(crate) place: Place,
    /// Bytes of a block in the largest of the engine's own buffers; 0 if there is none.
    pub(crate) home_bytes: u64,
    /// Windows of these buffers begin at a multiple of so many blocks.
    pub(crate) window_blocks: u32,
}

impl LentTensor {
    /// A record that never changes: for kernels that are no steps.
    pub(crate) fn record(&self) -> Tensor {
        let first = |lent: Lent| u32::try_from(lent.offset / lent.vec4_bytes()).unwrap_or(u32::MAX);
        Tensor {
            grad_scale: 1.0,
            clip_factor: 1.0,
            step: 1,
            param_vec4: first(self.param),
            grad_vec4: first(self.grad),
            // Without blocks of the engine's there may be more of them than can be counted so.
            state_vec4: self.place.first_block.wrapping_mul(64),
            ..bytemuck::Zeroable::zeroed()
        }
    }
}

/// What a binding can reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Bytes of a binding.
    pub(crate) max_binding_bytes: u64,
    /// A binding begins at a multiple of this; itself a multiple of 16.
    pub(crate) alignment: u64,
    /// Chunks of one dispatch.
    pub(crate) max_chunks: u64,
}

/// A range of bytes of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) buffer: usize,
    pub(crate) bytes: Range<u64>,
}

/// One dispatch over chunks.
#[derive(Clone, Debug)]
pub(crate) struct ChunkDispatch {
    /// The state segment; it names the kernel.
    pub(crate) segment: usize,
    /// Whether the kernel must touch single elements.
    pub(crate) ragged: bool,
    pub(crate) param: Bound,
    /// `None`: the parameter's binding reaches the gradients too.
    pub(crate) grad: Option<Bound>,
    /// Bytes of four elements of parameter and gradient.
    pub(crate) vec4_bytes: (u64, u64),
    /// The blocks of the state segment that are bound.
    pub(crate) state_blocks: Range<u32>,
    pub(crate) chunks: Vec<Chunk>,
}

impl ChunkDispatch {
    /// Where the windows begin.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "offsets are checked to fit 32 bits of vec4"
    )]
    pub(crate) fn window(&self) -> Window {
        let first = |bound: &Bound, vec4_bytes| (bound.bytes.start / vec4_bytes) as u32;
        Window {
            param_vec4: first(&self.param, self.vec4_bytes.0),
            grad_vec4: first(self.grad.as_ref().unwrap_or(&self.param), self.vec4_bytes.1),
            state_vec4: self.state_blocks.start * 64,
            padding0: 0,
        }
    }
}

/// A chunk with everything that decides where it can go.
struct Located {
    chunk: Chunk,
    segment: usize,
    ragged: bool,
    param: Bound,
    grad: Bound,
    vec4_bytes: (u64, u64),
    /// Where its state lies; `None` if the engine keeps none.
    state_block: Option<u32>,
    home_bytes: u64,
    window_blocks: u32,
}

/// Distributes the chunks of all tensors over as few dispatches as their buffers permit.
pub(crate) fn dispatches(tensors: &[LentTensor], reach: Reach) -> Vec<ChunkDispatch> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| {
        let t = &tensors[index];
        (t.place.segment, t.param.buffer, t.grad.buffer, t.param.offset)
    });
    // The body of all tensors first, then their ragged ends: two kernels, each with its dispatches.
    let mut dispatches: Vec<ChunkDispatch> = Vec::new();
    for ragged in [false, true] {
        // Dispatches that another chunk may still fit into: more than one where gradients lie in
        // another order than the parameters, in a buffer that is larger than a binding.
        let mut open: Vec<ChunkDispatch> = Vec::new();
        for located in order.iter().flat_map(|&index| located(index, &tensors[index], ragged)) {
            if open.first().is_some_and(|dispatch| !same_buffers(dispatch, &located)) {
                dispatches.append(&mut open);
            }
            if !open.iter_mut().any(|dispatch| extend(dispatch, &located, reach)) {
                open.push(begin(located, reach));
            }
        }
        dispatches.append(&mut open);
    }
    dispatches
}

/// The chunks of a tensor: those of whole vec4s, or the ragged one at its end.
fn located(index: usize, tensor: &LentTensor, ragged: bool) -> impl Iterator<Item = Located> {
    let tensor = *tensor;
    let has_ragged_end = !tensor.len_elems.is_multiple_of(4);
    let blocks = blocks_of(tensor.len_elems);
    let whole = if has_ragged_end { blocks - 1 } else { blocks };
    let range = if ragged { whole..blocks } else { 0..whole };
    range.map(move |block| {
        let len_elems = (tensor.len_elems - block * BLOCK_ELEMS).min(BLOCK_ELEMS);
        let bytes = |lent: Lent| {
            let first = lent.offset + block * BLOCK_ELEMS * lent.elem_bytes;
            // A binding's size is a multiple of four.
            let end = (first + len_elems * lent.elem_bytes).next_multiple_of(4);
            Bound { buffer: lent.buffer, bytes: first..end }
        };
        // A tensor has fewer than 2^32 blocks, or it would have no place.
        let number = u32::try_from(block).unwrap_or(u32::MAX);
        Located {
            chunk: Chunk {
                tensor: u32::try_from(index).unwrap_or(u32::MAX),
                first_vec4: number.saturating_mul(64),
                len_elems: u32::try_from(len_elems).unwrap_or(u32::MAX),
            },
            segment: tensor.place.segment,
            ragged,
            param: bytes(tensor.param),
            grad: bytes(tensor.grad),
            vec4_bytes: (tensor.param.vec4_bytes(), tensor.grad.vec4_bytes()),
            state_block: (tensor.home_bytes > 0).then_some(tensor.place.first_block + number),
            home_bytes: tensor.home_bytes,
            window_blocks: tensor.window_blocks,
        }
    })
}

/// The smallest binding around both ranges.
fn around(a: &Range<u64>, b: &Range<u64>, alignment: u64) -> Range<u64> {
    let start = a.start.min(b.start);
    start / alignment * alignment..a.end.max(b.end)
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

fn begin(at: Located, reach: Reach) -> ChunkDispatch {
    let align = |bytes: &Range<u64>| around(bytes, bytes, reach.alignment);
    let both = around(&at.param.bytes, &at.grad.bytes, reach.alignment);
    let shared = at.param.buffer == at.grad.buffer && len(&both) <= reach.max_binding_bytes;
    let param_bytes = if shared { both } else { align(&at.param.bytes) };
    let grad = Bound { buffer: at.grad.buffer, bytes: align(&at.grad.bytes) };
    ChunkDispatch {
        segment: at.segment,
        ragged: at.ragged,
        param: Bound { buffer: at.param.buffer, bytes: param_bytes },
        grad: (!shared).then_some(grad),
        vec4_bytes: at.vec4_bytes,
        state_blocks: with_block(None, &at),
        chunks: vec![at.chunk],
    }
}

/// The window of blocks with one more.
fn with_block(window: Option<&Range<u32>>, at: &Located) -> Range<u32> {
    let Some(block) = at.state_block else { return 0..0 };
    let (start, end) = window.map_or((block, block + 1), |w| (w.start, w.end));
    start.min(block) / at.window_blocks * at.window_blocks..end.max(block + 1)
}

/// Whether the chunk could be in the dispatch at all.
fn same_buffers(dispatch: &ChunkDispatch, at: &Located) -> bool {
    let grad_buffer = dispatch.grad.as_ref().unwrap_or(&dispatch.param).buffer;
    dispatch.segment == at.segment
        && dispatch.ragged == at.ragged
        && dispatch.param.buffer == at.param.buffer
        && grad_buffer == at.grad.buffer
}

/// Adds the chunk to a dispatch over the same buffers, if every binding still reaches.
fn extend(dispatch: &mut ChunkDispatch, at: &Located, reach: Reach) -> bool {
    if dispatch.chunks.len() as u64 >= reach.max_chunks {
        return false;
    }
    let mut param = around(&dispatch.param.bytes, &at.param.bytes, reach.alignment);
    let grad = match &dispatch.grad {
        Some(grad) => Some(around(&grad.bytes, &at.grad.bytes, reach.alignment)),
        None => {
            param = around(&param, &at.grad.bytes, reach.alignment);
            None
        }
    };
    let state_blocks = with_block(Some(&dispatch.state_blocks), at);
    let state_bytes = u64::from(state_blocks.end - state_blocks.start) * at.home_bytes;
    // Two writable bindings of one buffer must not overlap.
    let apart = grad
        .as_ref()
        .is_none_or(|grad| at.param.buffer != at.grad.buffer || !overlap(&param, grad));
    let longest = len(&param).max(grad.as_ref().map_or(0, len)).max(state_bytes);
    if !apart || longest > reach.max_binding_bytes {
        return false;
    }
    dispatch.param.bytes = param;
    if let (Some(bound), Some(bytes)) = (&mut dispatch.grad, grad) {
        bound.bytes = bytes;
    }
    dispatch.state_blocks = state_blocks;
    dispatch.chunks.push(at.chunk);
    true
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the tests' numbers are small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REACH: Reach = Reach { max_binding_bytes: 1 << 17, alignment: 256, max_chunks: 1 << 20 };

    /// Lays tensors out one behind the other, parameters and gradients in alternation, over
    /// `buffers` buffers; the state in one segment.
    fn lay_out(lengths: &[u64], buffers: usize, elem_bytes: (u64, u64)) -> Vec<LentTensor> {
        let mut ends = vec![0u64; buffers];
        let mut first_block = 0;
        let mut lend = |number: usize, len: u64, elem_bytes: u64| {
            let buffer = number % buffers;
            let offset = ends[buffer].next_multiple_of(elem_bytes * 4);
            ends[buffer] = (offset + len * elem_bytes).next_multiple_of(8);
            Lent { buffer, offset, elem_bytes }
        };
        let mut tensors = Vec::new();
        for (number, &len_elems) in lengths.iter().enumerate() {
            let blocks = blocks_of(len_elems) as u32;
            tensors.push(LentTensor {
                param: lend(number, len_elems, elem_bytes.0),
                grad: lend(number / 2 + 1, len_elems, elem_bytes.1),
                len_elems,
                place: Place { segment: 0, first_block, blocks },
                home_bytes: 1024,
                window_blocks: 64,
            });
            first_block += blocks;
        }
        tensors
    }

    fn check(tensors: &[LentTensor], reach: Reach) -> Result<(), TestCaseError> {
        let mut seen: Vec<Vec<u32>> =
            tensors.iter().map(|t| vec![0; t.len_elems as usize]).collect();
        for dispatch in dispatches(tensors, reach) {
            let window = dispatch.window();
            let grad = dispatch.grad.clone().unwrap_or(dispatch.param.clone());
            for bound in [&dispatch.param, &grad] {
                prop_assert!(len(&bound.bytes) <= reach.max_binding_bytes);
                prop_assert_eq!(bound.bytes.start % reach.alignment, 0);
            }
            if let Some(grad) = &dispatch.grad {
                prop_assert!(
                    grad.buffer != dispatch.param.buffer
                        || !overlap(&grad.bytes, &dispatch.param.bytes)
                );
            }
            prop_assert!(dispatch.chunks.len() as u64 <= reach.max_chunks);
            let state_bytes =
                u64::from(dispatch.state_blocks.end - dispatch.state_blocks.start) * 1024;
            prop_assert!(state_bytes <= reach.max_binding_bytes);
            prop_assert_eq!(dispatch.state_blocks.start % 64, 0);
            prop_assert_eq!(window.state_vec4, dispatch.state_blocks.start * 64);
            for chunk in &dispatch.chunks {
                let tensor = &tensors[chunk.tensor as usize];
                prop_assert_eq!(dispatch.ragged, chunk.len_elems % 4 != 0);
                let first = u64::from(chunk.first_vec4) * 4;
                for elem in first..first + u64::from(chunk.len_elems) {
                    seen[chunk.tensor as usize][elem as usize] += 1;
                }
                let reached = |lent: Lent, bound: &Bound| {
                    let start = lent.offset + first * lent.elem_bytes;
                    lent.buffer == bound.buffer
                        && bound.bytes.start <= start
                        && start + u64::from(chunk.len_elems) * lent.elem_bytes <= bound.bytes.end
                };
                prop_assert!(reached(tensor.param, &dispatch.param));
                prop_assert!(reached(tensor.grad, &grad));
                let block = tensor.place.first_block + chunk.first_vec4 / 64;
                prop_assert!(dispatch.state_blocks.contains(&block));
            }
        }
        prop_assert!(seen.iter().flatten().all(|count| *count == 1), "an element is not met once");
        Ok(())
    }

    proptest! {
        #[test]
        fn every_element_is_updated_exactly_once(
            lengths in prop::collection::vec(0u64..3000, 0..40),
            buffers in 1usize..5,
            max_chunks in 1u64..50,
            max_binding_kib in 2u64..200,
            elem_bytes in (1u64..3, 1u64..3),
        ) {
            let tensors = lay_out(&lengths, buffers, (2 * elem_bytes.0, 2 * elem_bytes.1));
            // State windows begin at multiples of 64 blocks, so 64 KiB is the least that works.
            let max_binding_bytes = (max_binding_kib << 10).max(1 << 16);
            check(&tensors, Reach { max_binding_bytes, max_chunks, ..REACH })?;
        }
    }

    #[test]
    fn tensors_of_one_buffer_share_a_dispatch() {
        let tensors = lay_out(&[256; 50], 1, (4, 4));
        let dispatches = dispatches(&tensors, REACH);
        assert_eq!(dispatches.len(), 1);
        assert_eq!(dispatches[0].chunks.len(), 50);
        assert!(dispatches[0].grad.is_none(), "one binding serves parameter and gradient");
    }

    #[test]
    fn gradients_in_another_order_do_not_cost_a_dispatch_each() {
        // 64 tensors of 16 KiB: parameters in 8 windows of 128 KiB, gradients interleaved over 8.
        let tensor = |i: u64| LentTensor {
            param: Lent { buffer: 0, offset: i << 14, elem_bytes: 4 },
            grad: Lent { buffer: 1, offset: (i % 8 * 8 + i / 8) << 14, elem_bytes: 4 },
            len_elems: 4096,
            place: Place { segment: 0, first_block: i as u32 * 16, blocks: 16 },
            home_bytes: 0,
            window_blocks: 64,
        };
        let tensors: Vec<_> = (0..64).map(tensor).collect();
        assert!(dispatches(&tensors, REACH).len() <= 8 * 8);
        let in_order: Vec<_> = tensors
            .iter()
            .map(|t| LentTensor { grad: Lent { buffer: 1, ..t.param }, ..*t })
            .collect();
        assert_eq!(dispatches(&in_order, REACH).len(), 8);
        // Twice the tensors of half the size: the same windows, the same dispatches.
        let halves: Vec<_> = tensors
            .iter()
            .flat_map(|t| {
                [0, 1 << 13].map(|half| LentTensor {
                    param: Lent { offset: t.param.offset + half, ..t.param },
                    grad: Lent { offset: t.grad.offset + half, ..t.grad },
                    len_elems: 2048,
                    ..*t
                })
            })
            .collect();
        assert_eq!(dispatches(&halves, REACH).len(), dispatches(&tensors, REACH).len());
    }

    #[test]
    fn distant_ranges_of_one_buffer_are_bound_apart() {
        let mut tensors = lay_out(&[256], 1, (4, 4));
        tensors[0].grad.offset = 1 << 30;
        let dispatches = dispatches(&tensors, REACH);
        let grad = dispatches[0].grad.as_ref().unwrap();
        assert_eq!(grad.bytes, 1 << 30..(1 << 30) + 1024);
        assert_eq!(dispatches[0].window().grad_vec4, (1 << 30) / 16);
    }
}
