//! Parameters and gradients in buffers of the caller's, wherever they lie in each step.

use std::sync::Arc;

use wgpu::Buffer;

use super::Info;
use crate::{
    BorrowedTensor, BufferRange, Error, Gpu, Result,
    borrowed_buffers::{Buffers, Lending, ToLend},
    compile,
    control::{Control, Input, RowDispatch, RowPieces, RowWindow, StepInputs, Written},
    dispatch::{BindGroups, Dispatch, PartDispatch, Pass, bind, part},
    kernel::{self, Recipe, Stage, TableIn},
    limits,
    tiles::{self, Extent, Grouping, LentTensor, Piece, Reach, TileInputs, Windows},
    update::{self, Fixed, Staged, TileTable, UpdateInputs},
};

/// Where the parameter of a tensor lies, and its gradient if it has one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) param: BufferRange,
    pub(super) grad: Option<BufferRange>,
}

impl Placed {
    pub(super) fn of(tensor: &BorrowedTensor) -> Self {
        Self { param: tensor.param.clone(), grad: tensor.grad.clone() }
    }
}

/// What a step dispatches for tensors in some places.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) updates: Arc<Staged<PartDispatch>>,
    pub(super) rows: Arc<[PartDispatch]>,
    /// Writes the tiles that the updates bind; `None` where the host has written them.
    pub(super) expand: Option<Dispatch>,
}

/// What was made of the places of a step.
#[derive(Clone, Debug)]
struct Made {
    ready: Ready,
    /// Runs and rows, for the step's input; empty for the places of the beginning.
    packed: Vec<u8>,
    shared_grads: Option<(String, String)>,
    /// The numbers of the buffers.
    buffers: Vec<usize>,
}

/// Where tensors lie, and what was made of that.
#[derive(Debug)]
pub(super) struct Borrowed {
    extents: Vec<Extent>,
    pieces: Vec<Piece>,
    /// Tiles of each segment.
    segments: Vec<u32>,
    reach: Reach,
    runs_in: TableIn,
    /// Where they lay in the step that was recorded last, and what was made of it.
    pub(super) places: Vec<Placed>,
    made: Made,
    /// Where they lay at first, for as long as steps come back to it.
    first: Option<(Vec<Placed>, Made, u64)>,
    buffers: Buffers,
    updates: BindGroups<(Windows, Stage)>,
    rows: BindGroups<RowWindow>,
    /// The tiles that the host wrote, those of a step, and room behind them, with the bytes of each.
    tiles: (Buffer, u64),
    /// Where runs begin in the tiles that the host wrote.
    written_runs: Vec<u32>,
    expand: Dispatch,
    /// Steps that were recorded, and how many of them when tensors last moved.
    step: u64,
    moved_at: u64,
}

/// Steps for which what is not used is kept.
const KEPT_STEPS: u64 = 8;

/// Columns of `control/expand.wgsl`.
pub(crate) const EXPAND_COLUMN: u32 = 8;

/// What is known of places before there are buffers for it.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) extents: Vec<Extent>,
    pieces: Vec<Piece>,
    segments: Vec<u32>,
    reach: Reach,
    runs_in: TableIn,
    buffers: Buffers,
    lending: Lending,
    grouping: Grouping,
    row_dispatches: Vec<RowDispatch>,
    row_offsets: Vec<u32>,
    pub(super) packed: Vec<u8>,
}

impl Outline {
    pub(super) fn new(
        gpu: &Gpu,
        extents: Vec<Extent>,
        segments: Vec<u32>,
        rows: &RowPieces,
        (infos, places): (&[Info], &[Placed]),
    ) -> Result<Self> {
        let reach = limits::reach(gpu);
        let pieces = tiles::pieces(&extents, reach);
        // At most a dispatch for each piece, and each of them filled up.
        let runs_in = TableIn::for_runs(2 * pieces.len() + 1, gpu.limits());
        let mut buffers = Buffers::default();
        let lending = lend(infos, places, &mut buffers, 0)?;
        let tile_inputs = TileInputs {
            extents: &extents,
            lent: &lending.tensors,
            buffers: &buffers.sizes,
            segments: &segments,
            reach,
        };
        let grouping = tiles::group(&pieces, tile_inputs);
        let grads: Vec<_> = lending.tensors.iter().map(|tensor| tensor.grad).collect();
        let row_dispatches = rows.group(&grads, &buffers.sizes);
        let (packed, row_offsets) = pack(gpu, &grouping, &row_dispatches);
        Ok(Self {
            extents,
            pieces,
            segments,
            reach,
            runs_in,
            buffers,
            lending,
            grouping,
            row_dispatches,
            row_offsets,
            packed,
        })
    }

    /// Bytes that other places may need: as many runs again, and rows in more dispatches.
    pub(super) fn room(&self) -> usize {
        2 * self.packed.len() + 1024
    }
}

impl Borrowed {
    /// `control` was made with the outline's places, and [room](Outline::room) for others.
    pub(super) fn new(
        outline: Outline,
        places: Vec<Placed>,
        update_inputs: UpdateInputs<'_>,
        control: &Control,
    ) -> Result<Self> {
        let gpu = update_inputs.gpu;
        // Room for more dispatches, whose tiles are filled up.
        let spare = 64 * tiles::DISPATCH_TILES;
        let tiles = update::tile_buffer(gpu, &outline.grouping, spare, 3)?;
        let expand = expand(gpu, &control.inputs, &tiles)?;
        let (mut updates, mut rows) = (BindGroups::default(), BindGroups::default());
        let ready = bind_all(
            update_inputs,
            control,
            (&outline.buffers, &tiles, outline.runs_in),
            (&outline.grouping, &outline.row_dispatches, &outline.row_offsets),
            (&mut updates, &mut rows, 0),
        )?;
        let packed = Vec::new();
        let Lending { tensors, shared_grads } = outline.lending;
        let made = Made { ready, packed, shared_grads, buffers: numbers(&tensors) };
        let written_runs = outline.grouping.first_tiles().collect();
        Ok(Self {
            extents: outline.extents,
            pieces: outline.pieces,
            segments: outline.segments,
            reach: outline.reach,
            runs_in: outline.runs_in,
            first: Some((places.clone(), made.clone(), 0)),
            places,
            made,
            buffers: outline.buffers,
            updates,
            rows,
            tiles,
            written_runs,
            expand,
            step: 0,
            moved_at: 0,
        })
    }

    /// Takes parameters and gradients from these places, other than those of now, from now on. What is
    /// wrong with them is found before anything changes.
    pub(super) fn place(
        &mut self,
        update_inputs: UpdateInputs<'_>,
        infos: &[Info],
        control: &mut Control,
        places: Vec<Placed>,
    ) -> Result<()> {
        if let Some((first, made, _)) = self.first.as_ref().filter(|(first, ..)| *first == places) {
            (self.made, self.places) = (made.clone(), first.clone());
            self.moved_at = self.step;
            return Ok(());
        }
        let lending = lend(infos, &places, &mut self.buffers, self.step)?;
        let tile_inputs = TileInputs {
            extents: &self.extents,
            lent: &lending.tensors,
            buffers: &self.buffers.sizes,
            segments: &self.segments,
            reach: self.reach,
        };
        let grouping = tiles::group(&self.pieces, tile_inputs);
        let grads: Vec<_> = lending.tensors.iter().map(|tensor| tensor.grad).collect();
        let rows = control.rows.group(&grads, &self.buffers.sizes);
        let (packed, offsets) = pack(update_inputs.gpu, &grouping, &rows);
        let made = self.make(update_inputs, control, (&grouping, &rows, &offsets), packed.len());
        let ready = made.inspect_err(|_| {
            // They may bind what was made for these places and is not kept.
            self.updates.clear();
            self.rows.clear();
        })?;
        let Lending { tensors, shared_grads } = lending;
        self.made = Made { ready, packed, shared_grads, buffers: numbers(&tensors) };
        self.places = places;
        self.moved_at = self.step;
        Ok(())
    }

    /// The dispatches of a step, in larger buffers where these do not hold its places. Steps that are
    /// recorded keep the old ones.
    fn make(
        &mut self,
        update_inputs: UpdateInputs<'_>,
        control: &mut Control,
        (grouping, rows, offsets): (&Grouping, &[RowDispatch], &[u32]),
        packed: usize,
    ) -> Result<Ready> {
        let gpu = update_inputs.gpu;
        let grows = packed > control.inputs.room();
        let tiles_grow = u64::from(grouping.tiles()) * 4 > self.tiles.1;
        let mut larger = None;
        if grows || tiles_grow {
            let mut control = control.clone();
            if grows {
                let inputs = control.inputs_with_room(gpu, packed * 2)?;
                if inputs.room() < packed {
                    let (expected, found) = (packed as u64, inputs.room() as u64);
                    let limit = "max_buffer_size";
                    return Err(Error::DeviceLimit { limit, expected, found });
                }
                control = control.with_inputs(gpu, inputs)?;
            }
            let tiles = match tiles_grow {
                true => update::tile_buffer(gpu, grouping, 64 * tiles::DISPATCH_TILES, 3)?,
                false => self.tiles.clone(),
            };
            let expand = expand(gpu, &control.inputs, &tiles)?;
            self.updates.clear();
            self.rows.clear();
            larger = Some((control, tiles, expand));
        }
        let inputs = larger.as_ref().map_or(&control.inputs, |(control, ..)| &control.inputs);
        let update_inputs = UpdateInputs { hypers: inputs.buffer(), ..update_inputs };
        let (bound, tiles, expand) = match &larger {
            Some((control, tiles, expand)) => (control, tiles, expand),
            None => (&*control, &self.tiles, &self.expand),
        };
        let dispatches = (grouping, rows, offsets);
        let bind_groups = (&mut self.updates, &mut self.rows, self.step);
        let mut ready = bind_all(
            update_inputs,
            bound,
            (&self.buffers, tiles, self.runs_in),
            dispatches,
            bind_groups,
        )?;
        // A larger buffer was made with these very tiles.
        let is_written = tiles_grow || grouping.first_tiles().eq(self.written_runs.iter().copied());
        let runs = grouping.runs.len().saturating_sub(1) as u64;
        if !is_written && runs > 0 {
            // The tiles of a step lie behind those that the host wrote.
            let behind = u32::try_from(tiles.1).unwrap_or(u32::MAX);
            for part in Arc::make_mut(&mut ready.updates).iter_mut() {
                part.offset += behind;
            }
            let (x, z) = kernel::fold(runs, gpu.limits());
            ready.expand = Some(Dispatch { workgroups: [x, EXPAND_COLUMN, z], ..expand.clone() });
        }
        if let Some((larger, tiles, expand)) = larger {
            (*control, self.tiles, self.expand, self.first) = (larger, tiles, expand, None);
            if tiles_grow {
                self.written_runs = grouping.first_tiles().collect();
            }
        }
        Ok(ready)
    }

    /// Writes a step's input; what was made of the places is recorded with it.
    pub(super) fn write(&mut self, gpu: &Gpu, control: &Control, input: &Input) -> Result<Written> {
        let written = control.inputs.write(gpu, input, &control.constants, &self.made.packed)?;
        self.step += 1;
        if !self.has_moved()
            && let Some((.., used)) = &mut self.first
        {
            *used = self.step;
        }
        // Later there is nothing left to forget.
        if self.step <= self.moved_at + KEPT_STEPS + 2 {
            let oldest = self.step.saturating_sub(KEPT_STEPS);
            for &number in &self.made.buffers {
                self.buffers.touch(number, self.step);
            }
            self.first.take_if(|(.., used)| *used < oldest);
            self.updates.expire(oldest);
            self.rows.expire(oldest);
            self.buffers.expire(oldest);
        }
        Ok(written)
    }

    /// Dispatches of other kernels over the places of now.
    pub(super) fn fixed(&self, update_inputs: UpdateInputs<'_>, infos: &[Info]) -> Result<Fixed> {
        let mut buffers = Buffers::default();
        let lending = lend(infos, &self.places, &mut buffers, 0)?;
        let tile_inputs = TileInputs {
            extents: &self.extents,
            lent: &lending.tensors,
            buffers: &buffers.sizes,
            segments: &self.segments,
            reach: self.reach,
        };
        Fixed::new(update_inputs, &buffers, &tiles::group(&self.pieces, tile_inputs))
    }

    /// Dispatches over these parameters, and, in the places of the gradients, what is kept of those that are exchanged.
    pub(super) fn exchange(
        &self,
        update_inputs: UpdateInputs<'_>,
        infos: &[Info],
        placed: &[Placed],
    ) -> Result<Fixed> {
        let mut buffers = Buffers::default();
        let to_lend = infos.iter().zip(placed).map(|(info, placed)| ToLend {
            name: &info.spec.name,
            len_elems: info.len_elems,
            dtype: info.spec.dtype,
            grad_dtype: info.spec.dtype,
            param: &placed.param,
            grad: placed.grad.as_ref(),
        });
        let lending = Lending::new(to_lend, &mut buffers, 0)?;
        let in_one_format = |extent: &Extent| {
            let (param, _) = extent.elem_bytes;
            Extent { elem_bytes: (param, param), ..*extent }
        };
        let extents: Vec<Extent> = self.extents.iter().map(in_one_format).collect();
        let tile_inputs = TileInputs {
            extents: &extents,
            lent: &lending.tensors,
            buffers: &buffers.sizes,
            segments: &self.segments,
            reach: self.reach,
        };
        let pieces = tiles::pieces(&extents, self.reach);
        Fixed::new(update_inputs, &buffers, &tiles::group(&pieces, tile_inputs))
    }

    /// Exchanges kernels.
    pub(super) fn change_kernels(
        &mut self,
        gpu: &Gpu,
        change: &impl Fn(&Recipe) -> Option<Recipe>,
    ) -> Result<()> {
        let first = self.first.as_mut().map(|(_, made, _)| made);
        for made in [&mut self.made].into_iter().chain(first) {
            for part in Arc::make_mut(&mut made.ready.updates).iter_mut() {
                part.dispatch.kernel = part.dispatch.kernel.changed(gpu, change)?;
            }
        }
        Ok(())
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.made.ready
    }

    /// Whether tensors lie elsewhere than at first.
    pub(super) fn has_moved(&self) -> bool {
        !self.made.packed.is_empty()
    }

    /// Two tensors whose gradients share bytes, if there are any.
    pub(super) fn shared_grads(&self) -> Option<&(String, String)> {
        self.made.shared_grads.as_ref()
    }

    /// How many bind groups and buffers are kept.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.updates.len() + self.rows.len(), self.buffers.len())
    }
}

/// The distinct buffers of these tensors.
fn numbers(tensors: &[LentTensor]) -> Vec<usize> {
    let all = tensors.iter().flat_map(|tensor| [Some(tensor.param), tensor.grad]);
    let mut numbers: Vec<usize> = all.flatten().map(|lent| lent.buffer).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Bind groups for updates and rows, kept or made now.
fn bind_all(
    update_inputs: UpdateInputs<'_>,
    control: &Control,
    (buffers, tiles, runs_in): (&Buffers, &(Buffer, u64), TableIn),
    (grouping, rows, offsets): (&Grouping, &[RowDispatch], &[u32]),
    (updates, row_groups, step): (
        &mut BindGroups<(Windows, Stage)>,
        &mut BindGroups<RowWindow>,
        u64,
    ),
) -> Result<Ready> {
    let (bound, runs) = (part(&tiles.0, 0, tiles.1), control.inputs.runs(runs_in));
    let table = TileTable { tiles: &bound, runs: &runs, runs_in };
    let updates = update::borrowed(update_inputs, buffers, grouping, table, (updates, step))?;
    let rows = (rows, offsets);
    let rows =
        control.bind_rows(update_inputs.gpu, rows, |n| buffers.get(n), (row_groups, step))?;
    Ok(Ready { updates: Arc::new(updates), rows: rows.into(), expand: None })
}

impl Ready {
    /// Records the update, behind everything that comes before it.
    pub(super) fn record(&self, pass: &mut dyn Pass, control: &Control, written: &Written) {
        if let Some(expand) = &self.expand {
            expand.record(pass, &[written.places]);
        }
        let record = |pass: &mut dyn Pass, parts: &[PartDispatch]| {
            for PartDispatch { dispatch, offset } in parts {
                dispatch.record(pass, &[*offset, written.hypers, written.places]);
            }
        };
        record(pass, &self.updates.reduces);
        control.record_finish(pass, written);
        record(pass, self.updates.updates(written.is_monitored));
    }

    /// How many dispatches update.
    pub(super) fn len(&self) -> usize {
        self.updates.len() + usize::from(self.expand.is_some())
    }
}

fn expand(gpu: &Gpu, inputs: &StepInputs, tiles: &(Buffer, u64)) -> Result<Dispatch> {
    let kernel = compile::kernel(gpu, Recipe::Expand)?;
    let bound = [inputs.places(), part(&tiles.0, tiles.1, tiles.1)];
    let bind_group = bind(gpu, "fallline expand", &kernel, &bound)?;
    Ok(Dispatch { kernel, bind_group, workgroups: [0; 3] })
}

fn lend(infos: &[Info], places: &[Placed], buffers: &mut Buffers, step: u64) -> Result<Lending> {
    let to_lend = infos.iter().zip(places).map(|(info, placed)| ToLend {
        name: &info.spec.name,
        len_elems: info.len_elems,
        dtype: info.spec.dtype,
        grad_dtype: info.spec.grad_dtype,
        param: &placed.param,
        grad: placed.grad.as_ref(),
    });
    Lending::new(to_lend, buffers, step)
}

/// Runs, and the rows of each dispatch, at multiples of 256 bytes, the largest offset alignment that WebGPU
/// permits; and where the rows begin.
pub(super) fn pack(gpu: &Gpu, grouping: &Grouping, rows: &[RowDispatch]) -> (Vec<u8>, Vec<u32>) {
    let mut packed: Vec<u8> = bytemuck::cast_slice(&grouping.runs).to_vec();
    // A folded dispatch of `control/expand.wgsl` reads behind the end.
    let (x, z) = kernel::fold(grouping.runs.len() as u64, gpu.limits());
    if z > 1
        && let Some(end) = grouping.runs.last()
    {
        let missing = (x as usize * z as usize + 1).saturating_sub(grouping.runs.len());
        packed.extend(bytemuck::bytes_of(end).repeat(missing));
    }
    let mut offsets = Vec::with_capacity(rows.len());
    for dispatch in rows {
        packed.resize(packed.len().next_multiple_of(256), 0);
        // Saturates: what does not fit 32 bits fits no entry of the ring, which is an error later.
        offsets.push(u32::try_from(packed.len()).unwrap_or(u32::MAX));
        packed.extend_from_slice(bytemuck::cast_slice(&dispatch.pieces));
    }
    (packed, offsets)
}
