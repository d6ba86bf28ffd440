//! Which pieces of gradients are summed in which dispatch. Pure: knows no GPU.
//!
//! For norms, a row is 64 tiles of a tensor, counted from the beginning of the whole that the tensor is a
//! piece of; its ragged end is one more. Each has a partial of its own, whatever dispatch measures it: those
//! of a group lie together, tensor by tensor. For the rows and columns of matrices, a piece is blocks of 64
//! rows, or of one row chunks.

use std::{collections::HashMap, ops::Range};

use crate::{
    Dtype, Error, Result,
    abi::{self, Matrices},
    fits::fits,
    layout::{TILE_ELEMS, tiles_of},
    tiles::{Bound, Lent},
    vectors::{BLOCK_ROWS, CHUNK_COLUMNS, lane_vec4s},
};

/// Tiles of a row: `LANES * TILES` of `control/measure.wgsl`.
pub(crate) const ROW_TILES: u64 = 64;

/// A gradient to sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) len_elems: u64,
    pub(crate) dtype: Dtype,
    pub(crate) group: usize,
    /// Where the tensor begins in the whole that it is a piece of: a multiple of 256 elements.
    pub(crate) whole_elem: u64,
    /// The rule that wants its rows and columns, and the tensor as matrices.
    pub(crate) margins: Option<(usize, Matrices)>,
}

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Summed {
    /// Squares, for norms.
    Squares,
    /// What a rule wants of rows and columns: its number, and how many vec4s of a row a lane sums.
    Margins { rule: usize, lane_vec4s: u8 },
}

/// Rows of one tensor, or blocks, that a window holds wherever it lies.
#[derive(Clone, Copy, Debug)]
struct Piece {
    summed: Summed,
    tensor: u32,
    /// Its first vec4, counted from the tensor's first.
    first_vec4: u64,
    len: u32,
    workgroups: u32,
    first: u32,
    lead: u32,
    ragged: bool,
}

/// The rows of all tensors, cut once and for all.
#[derive(Clone, Debug)]
pub(crate) struct RowPieces {
    pieces: Vec<Piece>,
    dtypes: Vec<Dtype>,
    /// Where the partials of each group begin, with the end of all.
    pub(crate) starts: Vec<u32>,
    /// The partials of each tensor.
    pub(crate) partials: Vec<Range<u32>>,
    half_bytes: u64,
    max_binding_bytes: u64,
    max_workgroups: u32,
}

/// What a dispatch sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowWindow {
    pub(crate) summed: Summed,
    pub(crate) dtype: Dtype,
    pub(crate) ragged: bool,
    /// `None`: of no gradient, which counts as zero.
    pub(crate) grad: Option<Bound>,
}

/// One dispatch over rows, with the pieces of these: a head, then the pieces.
#[derive(Clone, Debug)]
pub(crate) struct RowDispatch {
    pub(crate) window: RowWindow,
    pub(crate) pieces: Vec<abi::Piece>,
}

impl RowDispatch {
    /// How many workgroups it has.
    pub(crate) fn workgroups(&self) -> u32 {
        self.pieces[0].first_workgroup
    }
}

impl RowPieces {
    /// Of these gradients nothing yet, for bindings and dispatches that are at most this large.
    pub(crate) fn new(measured: &[Measured], max_binding_bytes: u64, max_workgroups: u64) -> Self {
        // Windows are two halves of a binding long and begin at multiples of one: see `tiles`.
        let half_bytes = max_binding_bytes / 2 / 256 * 256;
        let max_workgroups =
            fits(max_workgroups, "workgroups of a dispatch are counted in 32 bits");
        let dtypes = measured.iter().map(|measured| measured.dtype).collect();
        let (pieces, starts, partials) = (Vec::new(), vec![0], vec![0..0; measured.len()]);
        Self { pieces, dtypes, starts, partials, half_bytes, max_binding_bytes, max_workgroups }
    }

    /// With all gradients for the norms of the groups.
    pub(crate) fn squares(mut self, measured: &[Measured], groups: usize) -> Self {
        let mut partial = 0u32;
        for group in 0..groups {
            let tensors = (0u32..).zip(measured).filter(|(_, measured)| measured.group == group);
            for (tensor, &Measured { len_elems, dtype, whole_elem, .. }) in tensors {
                let row_bytes = ROW_TILES * TILE_ELEMS * dtype.size_bytes();
                let most =
                    (self.half_bytes / row_bytes).clamp(1, self.max_workgroups.into()) * ROW_TILES;
                let ragged = !len_elems.is_multiple_of(4);
                let whole = tiles_of(len_elems) - u64::from(ragged);
                let first_partial = partial;
                let mut add = |tiles: Range<u64>, lead: u64, ragged: bool| {
                    let end = (tiles.end * TILE_ELEMS).min(len_elems);
                    let rows = number((lead + tiles.end - tiles.start).div_ceil(ROW_TILES));
                    self.pieces.push(Piece {
                        summed: Summed::Squares,
                        tensor,
                        first_vec4: tiles.start * TILE_ELEMS / 4,
                        len: number(end - tiles.start * TILE_ELEMS),
                        workgroups: rows,
                        first: partial,
                        lead: number(lead),
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
                self.partials[tensor as usize] = first_partial..partial;
            }
            self.starts.push(partial);
        }
        self
    }

    /// With the matrices that rules want rows and columns of.
    ///
    /// # Errors
    /// [`Error::DeviceLimit`] if 64 rows are more than half of a binding: a matrix of one row alone is cut within it.
    pub(crate) fn margins(mut self, measured: &[Measured]) -> Result<Self> {
        for (tensor, &Measured { len_elems, dtype, margins, .. }) in (0u32..).zip(measured) {
            let Some((rule, shape)) = margins else { continue };
            let [rows, columns, blocks, chunks] =
                [shape.rows, shape.columns, shape.blocks, shape.chunks].map(u64::from);
            let lane_vec4s = lane_vec4s(&shape);
            // Chunks of one row lie one behind the other; others' blocks are not cut.
            let units = if rows == 1 { 1 } else { chunks };
            let first_elem = |step: u64| {
                let (block, chunk) = (step * units / chunks, step * units % chunks);
                let row = block / blocks * rows + block % blocks * BLOCK_ROWS;
                row * columns + chunk * CHUNK_COLUMNS
            };
            let end = u64::from(shape.matrices) * blocks * chunks / units;
            let mut first = 0;
            while first < end {
                let begin = first_elem(first) / 4 * 4;
                let bytes = |to: u64| {
                    let behind = if to < end { first_elem(to) } else { len_elems };
                    (behind.next_multiple_of(4) - begin) * dtype.size_bytes()
                };
                let is_piece = |to: u64| {
                    let workgroups = workgroups(&shape, (to - first) * units);
                    bytes(to) <= self.half_bytes && workgroups <= self.max_workgroups.into()
                };
                if !is_piece(first + 1) {
                    let limit = "max_storage_buffer_binding_size";
                    let (expected, found) = (2 * bytes(first + 1), self.max_binding_bytes);
                    return Err(Error::DeviceLimit { limit, expected, found });
                }
                // The last that fits.
                let (mut low, mut high) = (first + 1, end);
                while low < high {
                    let middle = (low + high).div_ceil(2);
                    if is_piece(middle) { low = middle } else { high = middle - 1 }
                }
                self.pieces.push(Piece {
                    summed: Summed::Margins { rule, lane_vec4s },
                    tensor,
                    first_vec4: begin / 4,
                    len: number((low - first) * units),
                    workgroups: number(workgroups(&shape, (low - first) * units)),
                    first: number(first * units),
                    lead: number(first_elem(first) - begin),
                    ragged: !len_elems.is_multiple_of(4),
                });
                first = low;
            }
        }
        Ok(self)
    }

    /// Distributes the pieces of all gradients, which lie in buffers of these sizes.
    pub(crate) fn group(&self, grads: &[Option<Lent>], buffers: &[u64]) -> Vec<RowDispatch> {
        let mut dispatches: Vec<RowDispatch> = Vec::new();
        let mut open: HashMap<RowWindow, usize> = HashMap::new();
        for piece in &self.pieces {
            let dtype = self.dtypes[piece.tensor as usize];
            let start = |grad: Lent| grad.offset + piece.first_vec4 * 4 * dtype.size_bytes();
            let grad = grads[piece.tensor as usize];
            // What has no gradient takes no step; but in a norm it counts, as zero.
            if grad.is_none() && piece.summed != Summed::Squares {
                continue;
            }
            let window = RowWindow {
                summed: piece.summed,
                dtype,
                ragged: piece.ragged,
                grad: grad.map(|grad| self.window(grad.buffer, start(grad), buffers)),
            };
            let has_room =
                |at: &usize| self.max_workgroups - dispatches[*at].workgroups() >= piece.workgroups;
            let at = open.get(&window).copied().filter(has_room).unwrap_or_else(|| {
                open.insert(window.clone(), dispatches.len());
                let pieces = vec![bytemuck::Zeroable::zeroed()];
                dispatches.push(RowDispatch { window: window.clone(), pieces });
                dispatches.len() - 1
            });
            let offset = grad.map_or(0, |grad| {
                start(grad) - window.grad.as_ref().map_or(0, |bound| bound.bytes.start)
            });
            let pieces = &mut dispatches[at].pieces;
            pieces.push(abi::Piece {
                first_workgroup: pieces[0].first_workgroup,
                tensor: piece.tensor,
                len: if grad.is_some() { piece.len } else { 0 },
                grad_vec4: number(offset / (4 * dtype.size_bytes())),
                first: piece.first,
                lead: piece.lead,
                padding0: 0,
                padding1: 0,
            });
            pieces[0].first_workgroup += piece.workgroups;
            pieces[0].tensor += 1;
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

/// Workgroups for units of a tensor: `control/margins.wgsl`.
fn workgroups(shape: &Matrices, units: u64) -> u64 {
    let columns = u64::from(shape.columns);
    // Of tiny matrices a unit has a lane for each vec4 of a row, up to the next power of two; others have a workgroup.
    if lane_vec4s(shape) > 0 {
        return units;
    }
    units.div_ceil(64 / columns.div_ceil(4).next_power_of_two())
}

/// What a binding holds is counted in 32 bits.
fn number(value: u64) -> u32 {
    fits(value, "a piece fits a binding and a dispatch, and partials a binding")
}
