//! Where tensors lie in buffers of the engine's. Pure: knows no GPU.
//!
//! A tensor begins at a multiple of [`BLOCK_ELEMS`] elements. Tensors that share a kernel lie in one
//! segment, that is one buffer for each role, with the same element index in every role; a kernel
//! whose tensors exceed the largest buffer gets several segments. A segment is cut into windows that
//! fit a binding.

use std::ops::Range;

/// Elements of a block: 32 lanes with two vec4s each, and the block of the 8-bit states.
pub(crate) const BLOCK_ELEMS: u64 = 256;

/// Lanes of a block: `BLOCK_LANES` of the frames.
pub(crate) const BLOCK_LANES: u32 = 32;

/// vec4s of a block.
pub(crate) const BLOCK_VEC4: u32 = 64;

/// Lanes of a block where it is summed: `TILE_LANES` of `frames/reduce.wgsl`.
pub(crate) const REDUCE_LANES: u32 = 8;

/// Tiles whose sums are a multiple of the largest offset alignment that WebGPU permits.
pub(crate) const SUM_TILES: u32 = 16;

/// The blocks that hold this many elements.
pub(crate) fn blocks_of(len_elems: u64) -> u64 {
    len_elems.div_ceil(BLOCK_ELEMS)
}

/// A tensor that wants a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Which kernel updates it.
    pub(crate) kernel: usize,
    pub(crate) len_elems: u64,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: usize,
    pub(crate) first_block: u32,
    pub(crate) blocks: u32,
}

/// One buffer for each role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kernel: usize,
    pub(crate) blocks: u32,
    /// The tensors in it, in order.
    pub(crate) tensors: Vec<usize>,
}

/// All segments, and the place of each tensor.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) segments: Vec<Segment>,
    pub(crate) places: Vec<Place>,
}

/// A tensor that is larger than a segment can be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) tensor: usize,
}

impl Layout {
    /// Places every tensor, in the given order within its kernel, whose segments may have so many
    /// blocks.
    pub(crate) fn new(items: &[Item], max_segment_blocks: &[u32]) -> Result<Self, TooLarge> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut places = Vec::with_capacity(items.len());
        for (tensor, item) in items.iter().enumerate() {
            let max_segment_blocks = max_segment_blocks[item.kernel];
            let blocks = u32::try_from(blocks_of(item.len_elems))
                .ok()
                .filter(|blocks| *blocks <= max_segment_blocks)
                .ok_or(TooLarge { tensor })?;
            let open = segments.iter().rposition(|segment| segment.kernel == item.kernel);
            let segment = match open {
                Some(index) if max_segment_blocks - segments[index].blocks >= blocks => index,
                _ => {
                    segments.push(Segment { kernel: item.kernel, blocks: 0, tensors: Vec::new() });
                    segments.len() - 1
                }
            };
            let home = &mut segments[segment];
            places.push(Place { segment, first_block: home.blocks, blocks });
            home.blocks += blocks;
            home.tensors.push(tensor);
        }
        Ok(Self { segments, places })
    }

    /// Where the sums of a segment's tiles begin among those of all, in tiles; of the number behind the last segment,
    /// where they end.
    pub(crate) fn first_sum(&self, segment: usize) -> u64 {
        let before = self.segments[..segment].iter();
        before.map(|segment| u64::from(segment.blocks.next_multiple_of(SUM_TILES))).sum()
    }

    /// For each block of a segment the tensor that it belongs to.
    pub(crate) fn block_table(&self, segment: usize) -> Vec<u32> {
        let segment = &self.segments[segment];
        let mut table = Vec::with_capacity(segment.blocks as usize);
        for &tensor in &segment.tensors {
            let number = u32::try_from(tensor).unwrap_or(u32::MAX);
            table.resize(table.len() + self.places[tensor].blocks as usize, number);
        }
        table
    }
}

/// Cuts `blocks` into windows of at most `max_blocks`, each but the last a multiple of `unit_blocks` long.
pub(crate) fn windows(blocks: u32, max_blocks: u32, unit_blocks: u32) -> Vec<Range<u32>> {
    let len = (max_blocks / unit_blocks * unit_blocks).max(unit_blocks);
    let mut windows = Vec::new();
    let mut first = 0;
    while first < blocks {
        let end = first.saturating_add(len).min(blocks);
        windows.push(first..end);
        first = end;
    }
    windows
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the tests' numbers are small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_element_has_exactly_one_place(
            items in prop::collection::vec((0usize..3, 0u64..5000), 0..60),
            max_segment_blocks in 20u32..100,
        ) {
            let items: Vec<Item> =
                items.into_iter().map(|(kernel, len_elems)| Item { kernel, len_elems }).collect();
            let layout = Layout::new(&items, &[max_segment_blocks; 3]).unwrap();
            let mut covered: Vec<Vec<u32>> = layout
                .segments
                .iter()
                .map(|segment| vec![0; segment.blocks as usize])
                .collect();
            for (item, place) in items.iter().zip(&layout.places) {
                prop_assert_eq!(u64::from(place.blocks), item.len_elems.div_ceil(BLOCK_ELEMS));
                prop_assert_eq!(layout.segments[place.segment].kernel, item.kernel);
                for block in place.first_block..place.first_block + place.blocks {
                    covered[place.segment][block as usize] += 1;
                }
            }
            for (index, segment) in layout.segments.iter().enumerate() {
                prop_assert!(segment.blocks <= max_segment_blocks);
                prop_assert!(covered[index].iter().all(|count| *count == 1));
                for (block, tensor) in layout.block_table(index).iter().enumerate() {
                    let place = layout.places[*tensor as usize];
                    let blocks = place.first_block..place.first_block + place.blocks;
                    prop_assert!(place.segment == index && blocks.contains(&(block as u32)));
                }
            }
        }

        #[test]
        fn windows_cover_every_block_once(blocks in 0u32..100_000, max_blocks in 64u32..3000) {
            let windows = windows(blocks, max_blocks, 64);
            let mut next = 0;
            for window in &windows {
                prop_assert_eq!(window.start, next);
                prop_assert!(!window.is_empty() && window.end - window.start <= max_blocks);
                prop_assert_eq!(window.start % 64, 0);
                next = window.end;
            }
            prop_assert_eq!(next, blocks);
        }
    }

    #[test]
    fn a_tensor_beyond_the_largest_buffer_is_named() {
        let items = [Item { kernel: 0, len_elems: 10 }, Item { kernel: 0, len_elems: 2561 }];
        assert_eq!(Layout::new(&items, &[10]).unwrap_err(), TooLarge { tensor: 1 });
    }
}
