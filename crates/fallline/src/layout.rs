//! Where tensors lie in buffers of the engine's. Pure: knows no GPU.
//!
//! A tensor begins at a multiple of [`TILE_ELEMS`] elements. Tensors that share a kernel lie in one
//! segment, that is one buffer for each role, with the same element index in every role; a kernel
//! whose tensors exceed the largest buffer gets several segments. A segment is cut into windows that
//! fit a binding.

use std::ops::Range;

use crate::fits::fits;

/// Elements of a tile: 32 lanes with two vec4s each, or 64 with one; the blocks of every format divide it.
pub(crate) const TILE_ELEMS: u64 = 256;

/// vec4s of a tile.
pub(crate) const TILE_VEC4: u32 = 64;

/// Lanes of a tile where it is summed: `TILE_LANES` of `frames/reduce.wgsl`.
pub(crate) const REDUCE_LANES: u32 = 8;

/// Tiles whose sums are a multiple of the largest offset alignment that WebGPU permits.
pub(crate) const SUM_TILES: u32 = 16;

/// The tiles that hold this many elements.
pub(crate) fn tiles_of(len_elems: u64) -> u64 {
    len_elems.div_ceil(TILE_ELEMS)
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
    pub(crate) first_tile: u32,
    pub(crate) tiles: u32,
}

/// One buffer for each role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kernel: usize,
    pub(crate) tiles: u32,
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
    /// Places every tensor, in the given order within its kernel, whose segments have at most these
    /// numbers of tiles.
    pub(crate) fn new(items: &[Item], max_segment_tiles: &[u32]) -> Result<Self, TooLarge> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut places = Vec::with_capacity(items.len());
        for (tensor, item) in items.iter().enumerate() {
            let max_segment_tiles = max_segment_tiles[item.kernel];
            let tiles = u32::try_from(tiles_of(item.len_elems))
                .ok()
                .filter(|tiles| *tiles <= max_segment_tiles)
                .ok_or(TooLarge { tensor })?;
            let open = segments.iter().rposition(|segment| segment.kernel == item.kernel);
            let segment = match open {
                Some(index) if max_segment_tiles - segments[index].tiles >= tiles => index,
                _ => {
                    segments.push(Segment { kernel: item.kernel, tiles: 0, tensors: Vec::new() });
                    segments.len() - 1
                }
            };
            let open = &mut segments[segment];
            places.push(Place { segment, first_tile: open.tiles, tiles });
            open.tiles += tiles;
            open.tensors.push(tensor);
        }
        Ok(Self { segments, places })
    }

    /// Where the sums of a segment's tiles begin among those of all, in tiles; of the number behind the last segment,
    /// where they end.
    pub(crate) fn first_sum(&self, segment: usize) -> u64 {
        let before = self.segments[..segment].iter();
        before.map(|segment| u64::from(segment.tiles.next_multiple_of(SUM_TILES))).sum()
    }

    /// For each of some tiles of a segment the tensor that it belongs to.
    pub(crate) fn tile_table(&self, segment: usize, tiles: &Range<u32>) -> Vec<u32> {
        let mut table = Vec::with_capacity(tiles.len());
        for &tensor in &self.segments[segment].tensors {
            let Place { first_tile, tiles: len, .. } = self.places[tensor];
            let (first, end) = (first_tile.max(tiles.start), (first_tile + len).min(tiles.end));
            let number = fits(tensor, "tensors are counted in 32 bits");
            table.resize(table.len() + end.saturating_sub(first) as usize, number);
        }
        table
    }
}

/// Cuts `tiles` into windows of at most `max_tiles`, each but the last a multiple of `unit_tiles` long.
pub(crate) fn windows(tiles: &Range<u32>, max_tiles: u32, unit_tiles: u32) -> Vec<Range<u32>> {
    let len = (max_tiles / unit_tiles * unit_tiles).max(unit_tiles);
    let mut windows = Vec::new();
    let mut first = tiles.start;
    while first < tiles.end {
        let end = first.saturating_add(len).min(tiles.end);
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
            max_segment_tiles in 20u32..100,
        ) {
            let items: Vec<Item> =
                items.into_iter().map(|(kernel, len_elems)| Item { kernel, len_elems }).collect();
            let layout = Layout::new(&items, &[max_segment_tiles; 3]).unwrap();
            let mut covered: Vec<Vec<u32>> = layout
                .segments
                .iter()
                .map(|segment| vec![0; segment.tiles as usize])
                .collect();
            for (item, place) in items.iter().zip(&layout.places) {
                prop_assert_eq!(u64::from(place.tiles), item.len_elems.div_ceil(TILE_ELEMS));
                prop_assert_eq!(layout.segments[place.segment].kernel, item.kernel);
                for tile in place.first_tile..place.first_tile + place.tiles {
                    covered[place.segment][tile as usize] += 1;
                }
            }
            for (index, segment) in layout.segments.iter().enumerate() {
                prop_assert!(segment.tiles <= max_segment_tiles);
                prop_assert!(covered[index].iter().all(|count| *count == 1));
                let table = layout.tile_table(index, &(0..segment.tiles));
                for (tile, tensor) in table.iter().enumerate() {
                    let place = layout.places[*tensor as usize];
                    let tiles = place.first_tile..place.first_tile + place.tiles;
                    prop_assert!(place.segment == index && tiles.contains(&(tile as u32)));
                }
                let part = segment.tiles / 3..segment.tiles / 2;
                let of_part = &table[part.start as usize..part.end as usize];
                prop_assert_eq!(layout.tile_table(index, &part), of_part);
            }
        }

        #[test]
        fn windows_cover_every_tile_once(
            (first, tiles) in (0u32..100, 0u32..100_000),
            max_tiles in 64u32..3000,
        ) {
            let (first, tiles) = (64 * first, 64 * first + tiles);
            let windows = windows(&(first..tiles), max_tiles, 64);
            let mut next = first;
            for window in &windows {
                prop_assert_eq!(window.start, next);
                prop_assert!(!window.is_empty() && window.end - window.start <= max_tiles);
                prop_assert_eq!(window.start % 64, 0);
                next = window.end;
            }
            prop_assert_eq!(next, tiles);
        }
    }

    #[test]
    fn a_tensor_beyond_the_largest_buffer_is_named() {
        let items = [Item { kernel: 0, len_elems: 10 }, Item { kernel: 0, len_elems: 2561 }];
        assert_eq!(Layout::new(&items, &[10]).unwrap_err(), TooLarge { tensor: 1 });
    }
}
