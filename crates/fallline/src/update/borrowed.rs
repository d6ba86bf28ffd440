//! The update of tensors in the caller's buffers: a dispatch for each kernel and the windows that it binds.

use wgpu::{BindingResource, Buffer, BufferUsages, ComputePass};

use super::{Bindings, Staged, UpdateInputs};
use crate::{
    Gpu, Result,
    borrowed_buffers::Buffers,
    compile,
    dispatch::{BindGroups, Dispatch, PartDispatch, part},
    fits::fits,
    kernel::{Frame, Recipe, Stage, TableIn, UNIFORM_RUNS_BYTES},
    limits::workgroup_tiles,
    tiles::{Bound, Grouping, TileDispatch, Windows},
};

/// The table of tiles that borrowed dispatches bind, and the runs that it names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileTable<'a> {
    /// With a dynamic offset.
    pub(crate) tiles: &'a BindingResource<'a>,
    /// With a dynamic offset.
    pub(crate) runs: &'a BindingResource<'a>,
    pub(crate) runs_in: TableIn,
}

/// The dispatches over borrowed buffers; each with the offset of its part of the tiles.
pub(crate) fn borrowed(
    update_inputs: UpdateInputs<'_>,
    buffers: &Buffers,
    grouping: &Grouping,
    table: TileTable<'_>,
    (bind_groups, step): (&mut BindGroups<(Windows, Stage)>, u64),
) -> Result<Staged<PartDispatch>> {
    let UpdateInputs { gpu, programs, layout, records, .. } = update_inputs;
    let mut dispatches = Staged::default();
    for TileDispatch { windows, tiles } in &grouping.dispatches {
        let Windows { segment, ragged, ref param, ref grad, ref state } = *windows;
        let frame = Frame::Borrowed { ragged, shared: grad.is_none(), runs_in: table.runs_in };
        let program = &programs[layout.segments[segment].kernel];
        for stage in program.stages() {
            let tiles_len = u64::from(tiles.end - tiles.start);
            let workgroups = tiles_len.div_ceil(workgroup_tiles(gpu, stage));
            let x = fits(workgroups, "no more than tiles, which are counted in 32 bits");
            let update =
                program.update(frame, records.tensors_in, stage).with_lane_vec4s(gpu.lane_vec4s());
            let kernel = compile::kernel(gpu, Recipe::Update(update))?;
            let bind_group = bind_groups.get(&(windows.clone(), stage), step, || {
                let lent = |Bound { buffer, bytes }: &Bound| {
                    let buffer = buffers.get(*buffer).unwrap_or(update_inputs.dummy);
                    part(buffer, bytes.start, bytes.end - bytes.start)
                };
                let bound = Bindings {
                    tiles: table.tiles.clone(),
                    param: lent(param),
                    grad: grad.as_ref().map(lent),
                    state: (segment, state),
                    last: table.runs.clone(),
                };
                bound.bind(update_inputs, "fallline borrowed window", &kernel, stage)
            })?;
            let dispatch = Dispatch { kernel, bind_group, workgroups: [x, 1, 1] };
            dispatches.push(stage, PartDispatch { dispatch, offset: tiles.start * 4 });
        }
    }
    Ok(dispatches)
}

/// Dispatches over borrowed buffers that never move.
#[derive(Debug)]
pub(crate) struct Fixed {
    dispatches: Staged<PartDispatch>,
}

impl Fixed {
    pub(crate) fn new(
        update_inputs: UpdateInputs<'_>,
        buffers: &Buffers,
        grouping: &Grouping,
    ) -> Result<Self> {
        let gpu = update_inputs.gpu;
        let (tiles, size) = tile_buffer(gpu, grouping, 0, 2)?;
        let runs_in = TableIn::for_runs(grouping.runs.len(), gpu.limits());
        let usage = BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let runs_bytes = size_of_val(grouping.runs.as_slice()) as u64;
        let runs = gpu.buffer("fallline runs", runs_bytes.max(UNIFORM_RUNS_BYTES), usage)?;
        gpu.write("fallline runs", &runs, 0, &grouping.runs)?;
        let runs_bytes = if runs_in == TableIn::Uniform { UNIFORM_RUNS_BYTES } else { runs_bytes };
        let (tiles, runs) = (part(&tiles, 0, size), part(&runs, 0, runs_bytes));
        let table = TileTable { tiles: &tiles, runs: &runs, runs_in };
        let mut bind_groups = BindGroups::default();
        let dispatches = borrowed(update_inputs, buffers, grouping, table, (&mut bind_groups, 0))?;
        Ok(Self { dispatches })
    }

    /// Records every dispatch, with hyperparameters at this offset.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>, hypers: u32) {
        for PartDispatch { dispatch, offset } in self.dispatches.iter() {
            dispatch.record(pass, &[*offset, hypers, 0]);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dispatches.len()
    }
}

/// A buffer with some parts for tiles, of which the first holds those of a grouping; and the bytes of a part,
/// which a binding holds from any tile of the others on.
pub(crate) fn tile_buffer(
    gpu: &Gpu,
    grouping: &Grouping,
    spare_tiles: u32,
    times: u64,
) -> Result<(Buffer, u64)> {
    let size = (u64::from(grouping.tiles()) + u64::from(spare_tiles)).max(64) * 4;
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
    let buffer = gpu.buffer("fallline tiles", size * times, usage)?;
    gpu.write("fallline tiles", &buffer, 0, &grouping.expanded())?;
    Ok((buffer, size))
}
