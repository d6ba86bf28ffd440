//! Which rows of gradients are measured in which dispatch. Pure: knows no GPU.
//!
//! A row is 64 tiles of a tensor, counted from the beginning of the whole that the tensor is a piece of; its
//! ragged end is one more. Each has a partial of its own, whatever dispatch measures it: those of a
//! group lie together, tensor by tensor.

use std::collections::HashMap;

use crate::{
    Dtype,
    abi::Rows,
    fits::fits,
    layout::{TILE_ELEMS, tiles_of},
    tiles::{Bound, Lent},
};

/// Tiles of a row: `LANES * TILES` of `control/measure.wgsl`.
pub(crate) const ROW_TILES: u64 = 64;

/// A gradient to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) len_elems: u64,
    pub(crate) dtype: Dtype,
    pub(crate) group: usize,
    /// Where the tensor begins in the whole that it is a piece of: a multiple of 256 elements.
    pub(crate) whole_elem: u64,
}

/// Rows of one tensor that a window holds wherever it lies.
#[derive(Clone, Copy, Debug)]
struct Piece {
    tensor: u32,
    first_tile: u64,
    len_elems: u32,
    rows: u32,
    partial: u32,
    lead_tiles: u32,
    ragged: bool,
}

/// The rows of all tensors, cut once and for all.
#[derive(Clone, Debug)]
pub(crate) struct RowPieces {
    pieces: Vec<Piece>,
    dtypes: Vec<Dtype>,
    /// Where the partials of each group begin, with the end of all.
    pub(crate) starts: Vec<u32>,
    half_bytes: u64,
    max_binding_bytes: u64,
    max_rows: u32,
}

/// What a dispatch measures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowWindow {
    pub(crate) dtype: Dtype,
    pub(crate) ragged: bool,
    /// `None`: of no gradient, which counts as zero.
    pub(crate) grad: Option<Bound>,
}

/// One dispatch over rows, with the runs of these: a head, then the runs.
#[derive(Clone, Debug)]
pub(crate) struct RowDispatch {
    pub(crate) window: RowWindow,
    pub(crate) rows: Vec<Rows>,
}

impl RowDispatch {
    /// How many rows it measures.
    pub(crate) fn len(&self) -> u32 {
        self.rows[0].first_row
    }
}

impl RowPieces {
    /// For bindings and dispatches that are at most this large.
    pub(crate) fn new(
        measured: &[Measured],
        groups: usize,
        max_binding_bytes: u64,
        max_workgroups: u64,
    ) -> Self {
        // Windows are two halves of a binding long and begin at multiples of one: see `tiles`.
        let half_bytes = max_binding_bytes / 2 / 256 * 256;
        let number = |value: u64| fits(value, "a piece fits a binding and a dispatch");
        let max_rows: u32 = fits(max_workgroups, "workgroups of a dispatch are counted in 32 bits");
        let (mut pieces, mut starts) = (Vec::new(), vec![0]);
        let mut partial = 0u32;
        for group in 0..groups {
            let tensors = (0u32..).zip(measured).filter(|(_, measured)| measured.group == group);
            for (tensor, &Measured { len_elems, dtype, whole_elem, .. }) in tensors {
                let row_bytes = ROW_TILES * TILE_ELEMS * dtype.size_bytes();
                let most = (half_bytes / row_bytes).clamp(1, max_rows.into()) * ROW_TILES;
                let ragged = !len_elems.is_multiple_of(4);
                let whole = tiles_of(len_elems) - u64::from(ragged);
                let mut add = |tiles: std::ops::Range<u64>, lead: u64, ragged: bool| {
                    let end = (tiles.end * TILE_ELEMS).min(len_elems);
                    let rows = number((lead + tiles.end - tiles.start).div_ceil(ROW_TILES));
                    pieces.push(Piece {
                        tensor,
                        first_tile: tiles.start,
                        len_elems: number(end - tiles.start * TILE_ELEMS),
                        rows,
                        partial,
                        lead_tiles: number(lead),
                        ragged,
                    });
                    partial += rows;
                };
                let mut first = 0;
                while first < whole {
                    let lead = (whole_elem / TILE_ELEMS + first) % ROW_TILES;
                    let end = whole.min(first + most - lead);
                    add(first..end, lead, false);
                    first = end;
                }
                if ragged {
                    add(whole..whole + 1, 0, true);
                }
            }
            starts.push(partial);
        }
        let dtypes = measured.iter().map(|measured| measured.dtype).collect();
        Self { pieces, dtypes, starts, half_bytes, max_binding_bytes, max_rows }
    }

    /// Distributes the rows of all gradients, which lie in buffers of these sizes.
    pub(crate) fn group(&self, grads: &[Option<Lent>], buffers: &[u64]) -> Vec<RowDispatch> {
        let mut dispatches: Vec<RowDispatch> = Vec::new();
        let mut open: HashMap<RowWindow, usize> = HashMap::new();
        for piece in &self.pieces {
            let dtype = self.dtypes[piece.tensor as usize];
            let start =
                |grad: Lent| grad.offset + piece.first_tile * TILE_ELEMS * dtype.size_bytes();
            let grad = grads[piece.tensor as usize];
            let window = RowWindow {
                dtype,
                ragged: piece.ragged,
                grad: grad.map(|grad| self.window(grad.buffer, start(grad), buffers)),
            };
            let has_room = |at: &usize| self.max_rows - dispatches[*at].len() >= piece.rows;
            let at = open.get(&window).copied().filter(has_room).unwrap_or_else(|| {
                open.insert(window.clone(), dispatches.len());
                let rows = vec![bytemuck::Zeroable::zeroed()];
                dispatches.push(RowDispatch { window: window.clone(), rows });
                dispatches.len() - 1
            });
            let offset = grad.map_or(0, |grad| {
                start(grad) - window.grad.as_ref().map_or(0, |bound| bound.bytes.start)
            });
            let rows = &mut dispatches[at].rows;
            rows.push(Rows {
                first_row: rows[0].first_row,
                tensor: piece.tensor,
                len_elems: if grad.is_some() { piece.len_elems } else { 0 },
                grad_vec4: fits(
                    offset / (4 * dtype.size_bytes()),
                    "the vec4s of a binding are counted in 32 bits",
                ),
                partial: piece.partial,
                lead_tiles: piece.lead_tiles,
                padding0: 0,
                padding1: 0,
            });
            rows[0].first_row += piece.rows;
            rows[0].tensor += 1;
        }
        dispatches
    }

    fn window(&self, buffer: usize, first: u64, buffers: &[u64]) -> Bound {
        let size = buffers[buffer] / 4 * 4;
        if size <= self.max_binding_bytes {
            return Bound { buffer, bytes: 0..size };
        }
        let start = first / self.half_bytes * self.half_bytes;
        Bound { buffer, bytes: start..(start + 2 * self.half_bytes).min(size) }
    }
}
