//! Borrowed buffers: which pieces of tensors share a dispatch, and which windows of the buffers it binds.
//! Pure: knows no GPU. Costs time by the number of tensors, not of their elements.
//!
//! A tensor is cut once and for all into *pieces*, so short that a window holds each wherever it lies. The
//! last tile of a tensor whose length is no multiple of four is a piece of its own, *ragged*: it goes
//! through a kernel that touches single elements. Pieces share a dispatch if they have the same kernel and
//! lie in the same windows, which lie on a grid: so a tensor that moves within its buffer finds the bind
//! group of its windows made already.

use std::{collections::HashMap, ops::Range};

use crate::{
    abi::{Run, Tensor},
    fits::fits,
    layout::{Place, TILE_ELEMS, tiles_of},
};

/// Where a tensor begins in one of the caller's buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent {
    /// Which buffer, numbered by the caller of this module.
    pub(crate) buffer: usize,
    /// The first byte, a multiple of four elements.
    pub(crate) offset: u64,
}

/// Where parameter and gradient of a tensor lie in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LentTensor {
    pub(crate) param: Lent,
    /// `None`: there is no gradient.
    pub(crate) grad: Option<Lent>,
}

/// What is known of a tensor wherever it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) len_elems: u64,
    /// Bytes of an element of parameter and gradient.
    pub(crate) elem_bytes: (u64, u64),
    /// Where its state lies.
    pub(crate) place: Place,
    /// Bytes of a tile in the larger of the engine's own buffers; 0 if there is none.
    pub(crate) state_or_master_bytes: u64,
    /// Windows of these buffers begin at a multiple of this many tiles.
    pub(crate) window_tiles: u32,
}

impl Extent {
    /// A record that never changes: for kernels that are no steps.
    pub(crate) fn record(&self) -> Tensor {
        Tensor { grad_scale: 1.0, clip_factor: 1.0, step: 1, ..bytemuck::Zeroable::zeroed() }
    }

    /// Bytes of a tile in the largest of all buffers.
    fn tile_bytes(&self) -> u64 {
        (TILE_ELEMS * self.elem_bytes.0.max(self.elem_bytes.1)).max(self.state_or_master_bytes)
    }
}

/// What a binding can reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Bytes of a binding.
    pub(crate) max_binding_bytes: u64,
    /// Tiles of one dispatch.
    pub(crate) max_tiles: u32,
    /// Windows around no more than a piece, from a multiple of this many bytes on: for kernels that bind other
    /// parts of the same buffers. `None`: windows on the grid.
    pub(crate) tight: Option<u64>,
}

/// A binding begins at a multiple of this, the largest offset alignment that WebGPU permits.
const ALIGNMENT: u64 = 256;

/// A dispatch's tiles begin at a multiple of this: a multiple of any workgroup's, and of [`ALIGNMENT`] in
/// bytes of their table.
pub(crate) const DISPATCH_TILES: u32 = 64;

impl Reach {
    /// A quarter of a binding: more than the bytes of any piece.
    fn quarter(self) -> u64 {
        self.max_binding_bytes / 4 / ALIGNMENT * ALIGNMENT
    }

    /// The least that a binding must hold, for tiles of these bytes in its largest buffer and in the
    /// engine's own, whose windows begin at a multiple of `window_tiles` tiles.
    pub(crate) fn least(tile_bytes: u64, state_or_master_bytes: u64, window_tiles: u32) -> u64 {
        let quarters = (4 * tile_bytes.next_multiple_of(ALIGNMENT)).max(4 * ALIGNMENT);
        quarters.max((u64::from(window_tiles) * 4).div_ceil(3) * state_or_master_bytes)
    }
}

/// A part of a tensor that a window holds wherever the tensor lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) tensor: u32,
    pub(crate) first_tile: u32,
    pub(crate) len_elems: u32,
    pub(crate) ragged: bool,
}

/// Cuts the tensors into pieces.
pub(crate) fn pieces(extents: &[Extent], reach: Reach) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(extents.len());
    for (tensor, extent) in (0u32..).zip(extents) {
        let most = (reach.quarter() / extent.tile_bytes()).min(reach.max_tiles.into()).max(1);
        let ragged_tiles = u64::from(!extent.len_elems.is_multiple_of(4));
        let whole = tiles_of(extent.len_elems) - ragged_tiles;
        let mut add = |tiles: Range<u64>, ragged| {
            let end = (tiles.end * TILE_ELEMS).min(extent.len_elems);
            let number = |value: u64| {
                fits(value, "a piece's bytes fit a binding, and tiles are counted in 32 bits")
            };
            pieces.push(Piece {
                tensor,
                first_tile: number(tiles.start),
                len_elems: number(end - tiles.start * TILE_ELEMS),
                ragged,
            });
        };
        let mut first = 0;
        while first < whole {
            let end = whole.min(first + most);
            add(first..end, false);
            first = end;
        }
        if ragged_tiles == 1 {
            add(whole..whole + 1, true);
        }
    }
    pieces
}

/// A range of bytes of a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bound {
    pub(crate) buffer: usize,
    pub(crate) bytes: Range<u64>,
}

/// What a dispatch binds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Windows {
    /// The state segment; it names the kernel.
    pub(crate) segment: usize,
    /// Whether the kernel must touch single elements.
    pub(crate) ragged: bool,
    pub(crate) param: Bound,
    /// `None`: the parameter's binding reaches the gradients too.
    pub(crate) grad: Option<Bound>,
    /// The tiles of the state segment.
    pub(crate) state: Range<u32>,
}

/// One dispatch over tiles.
#[derive(Clone, Debug)]
pub(crate) struct TileDispatch {
    pub(crate) windows: Windows,
    /// Its tiles among those of all dispatches.
    pub(crate) tiles: Range<u32>,
}

/// All dispatches, and the runs of their tiles: filled up to a multiple of [`DISPATCH_TILES`], an end
/// behind the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grouping {
    pub(crate) dispatches: Vec<TileDispatch>,
    pub(crate) runs: Vec<Run>,
}

impl Grouping {
    /// Tiles of all dispatches, filled up.
    pub(crate) fn tiles(&self) -> u32 {
        self.runs.last().map_or(0, |end| end.first_tile)
    }

    /// Where each run begins: all that the runs of the tiles depend on.
    pub(crate) fn first_tiles(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().map(|run| run.first_tile)
    }

    /// The run of each tile: what `control/expand.wgsl` makes of the runs.
    pub(crate) fn expanded(&self) -> Vec<u32> {
        let mut tiles = Vec::new();
        for (number, run) in (0u32..).zip(self.runs.windows(2)) {
            tiles.resize(run[1].first_tile as usize, number);
        }
        tiles
    }
}

/// Where tensors lie, and in what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileInputs<'a> {
    pub(crate) extents: &'a [Extent],
    pub(crate) lent: &'a [LentTensor],
    /// Bytes of each buffer.
    pub(crate) buffers: &'a [u64],
    /// Tiles of each state segment.
    pub(crate) segments: &'a [u32],
    pub(crate) reach: Reach,
}

/// Distributes the pieces of all tensors with a gradient over as few dispatches as their windows permit.
pub(crate) fn group(pieces: &[Piece], tile_inputs: TileInputs<'_>) -> Grouping {
    let mut dispatches: Vec<TileDispatch> = Vec::new();
    let mut open: HashMap<Windows, usize> = HashMap::new();
    let mut of_pieces: Vec<usize> = Vec::with_capacity(pieces.len());
    let mut last = usize::MAX;
    for piece in pieces {
        let Some(windows) = windows(*piece, tile_inputs) else {
            of_pieces.push(usize::MAX);
            continue;
        };
        let tiles = piece.len_elems.div_ceil(256);
        let same = dispatches.get(last).is_some_and(|dispatch| dispatch.windows == windows);
        let found = if same { Some(last) } else { open.get(&windows).copied() };
        let fits = |at: usize| tile_inputs.reach.max_tiles - dispatches[at].tiles.end >= tiles;
        last = found.filter(|at| fits(*at)).unwrap_or_else(|| {
            open.insert(windows.clone(), dispatches.len());
            dispatches.push(TileDispatch { windows, tiles: 0..0 });
            dispatches.len() - 1
        });
        dispatches[last].tiles.end += tiles;
        of_pieces.push(last);
    }
    // Dispatches one behind the other; in each the pieces in their order.
    let mut first = 0;
    let mut next = Vec::with_capacity(dispatches.len());
    for dispatch in &mut dispatches {
        dispatch.tiles = first..first + dispatch.tiles.end;
        next.push(dispatch.tiles.start);
        first = dispatch.tiles.end.next_multiple_of(DISPATCH_TILES);
    }
    let mut runs = Vec::with_capacity(pieces.len() + dispatches.len() + 1);
    for (piece, at) in pieces.iter().zip(of_pieces) {
        let Some(dispatch) = dispatches.get(at) else { continue };
        runs.push(run(*piece, dispatch, next[at], tile_inputs));
        next[at] += piece.len_elems.div_ceil(256);
    }
    let none = Run { len_elems: 0, ..bytemuck::Zeroable::zeroed() };
    for TileDispatch { tiles, .. } in &dispatches {
        if !tiles.end.is_multiple_of(DISPATCH_TILES) {
            let first_of_dispatch = tiles.end - tiles.start;
            runs.push(Run { first_tile: tiles.end, first_of_dispatch, ..none });
        }
    }
    runs.sort_unstable_by_key(|run| run.first_tile);
    runs.push(Run { first_tile: first, ..none });
    Grouping { dispatches, runs }
}

/// The windows that hold a piece; `None` if it has no gradient.
fn windows(piece: Piece, tile_inputs: TileInputs<'_>) -> Option<Windows> {
    let TileInputs { extents, lent, buffers, segments, reach } = tile_inputs;
    let extent = &extents[piece.tensor as usize];
    let LentTensor { param, grad } = lent[piece.tensor as usize];
    let grad = grad?;
    let bytes = |lent: Lent, elem_bytes: u64| {
        let first = lent.offset + u64::from(piece.first_tile) * TILE_ELEMS * elem_bytes;
        // A binding's size is a multiple of four.
        first..(first + u64::from(piece.len_elems) * elem_bytes).next_multiple_of(4)
    };
    let (p, g) = (bytes(param, extent.elem_bytes.0), bytes(grad, extent.elem_bytes.1));
    let quarter = reach.quarter();
    let window = |buffer: usize, start: u64, len: u64| Bound {
        buffer,
        bytes: start..(start + len).min(buffers[buffer] / 4 * 4),
    };
    if let Some(alignment) = reach.tight {
        let start = p.start / alignment * alignment;
        let state = state_window(extent, piece, segments[extent.place.segment], reach);
        let (segment, ragged) = (extent.place.segment, piece.ragged);
        let param = window(param.buffer, start, p.end - start);
        return Some(Windows { segment, ragged, param, grad: None, state });
    }
    let on_grid = |buffer: usize, first: u64| {
        if buffers[buffer] <= reach.max_binding_bytes {
            return window(buffer, 0, u64::MAX / 2);
        }
        window(buffer, first / (3 * quarter) * (3 * quarter), 4 * quarter)
    };
    let (param, grad) = if param.buffer != grad.buffer {
        (on_grid(param.buffer, p.start), Some(on_grid(grad.buffer, g.start)))
    } else {
        // One window for both, or two that do not overlap, since both are written.
        let (low, high) = (p.start.min(g.start), p.end.max(g.end));
        let both = on_grid(param.buffer, low);
        let apart = |first: u64| window(param.buffer, first / quarter * quarter, 2 * quarter);
        if high <= both.bytes.end {
            (both, None)
        } else if high - low <= 3 * quarter {
            (window(param.buffer, low / quarter * quarter, 4 * quarter), None)
        } else {
            (apart(p.start), Some(apart(g.start)))
        }
    };
    let segment = extent.place.segment;
    let state = state_window(extent, piece, segments[segment], reach);
    Some(Windows { segment, ragged: piece.ragged, param, grad, state })
}

/// The tiles of a segment that are bound for a piece.
fn state_window(extent: &Extent, piece: Piece, tiles: u32, reach: Reach) -> Range<u32> {
    if extent.state_or_master_bytes == 0 {
        return 0..0;
    }
    // Saturates: more than there are tiles.
    let most =
        u32::try_from(reach.max_binding_bytes / extent.state_or_master_bytes).unwrap_or(u32::MAX);
    if tiles <= most {
        return 0..tiles;
    }
    let unit = extent.window_tiles;
    let step = (u64::from(most) * 3 / 4 / u64::from(unit)).max(1) * u64::from(unit);
    let first = u64::from(extent.place.first_tile + piece.first_tile);
    let start = fits(first / step * step, "at most the number of the piece's own first tile");
    start..start.saturating_add(most).min(tiles)
}

fn run(piece: Piece, dispatch: &TileDispatch, first_tile: u32, tile_inputs: TileInputs<'_>) -> Run {
    let TileDispatch { windows, tiles } = dispatch;
    let extent = &tile_inputs.extents[piece.tensor as usize];
    let lent = &tile_inputs.lent[piece.tensor as usize];
    let vec4 = |lent: Lent, bound: &Bound, elem_bytes: u64| {
        let first = lent.offset + u64::from(piece.first_tile) * TILE_ELEMS * elem_bytes;
        let vec4 = (first - bound.bytes.start) / (4 * elem_bytes);
        fits(vec4, "the vec4s of a binding are counted in 32 bits")
    };
    let grad = lent.grad.unwrap_or(lent.param);
    let state_tile = extent.place.first_tile.wrapping_add(piece.first_tile);
    Run {
        first_tile,
        first_of_dispatch: first_tile - tiles.start,
        tensor: piece.tensor,
        first_vec4: piece.first_tile.wrapping_mul(64),
        len_elems: piece.len_elems,
        param_vec4: vec4(lent.param, &windows.param, extent.elem_bytes.0),
        grad_vec4: vec4(grad, windows.grad.as_ref().unwrap_or(&windows.param), extent.elem_bytes.1),
        state_tile: state_tile.wrapping_sub(windows.state.start),
    }
}

#[cfg(test)]
mod tests;
