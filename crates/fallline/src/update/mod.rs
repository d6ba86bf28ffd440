//! The dispatches that reduce and update, with what they bind: window by window of the engine's segments.

mod arena;
mod borrowed;

use std::ops::Range;

use wgpu::{BindingResource, Buffer, BufferUsages};

pub(crate) use self::{
    arena::{Span, arena, arena_span},
    borrowed::{Fixed, TileTable, borrowed, tile_buffer},
};
use crate::{
    Gpu, Result,
    dispatch::{BindGroup, PART_ALIGNMENT, bind, part, tiles_part},
    kernel::{HYPERS_BYTES, Kernel, Program, SUM_BYTES, Stage},
    layout::{Layout, TILE_ELEMS},
    records::{Records, TileSums},
};

/// The buffers of a segment.
#[derive(Debug)]
pub(crate) struct SegmentBuffers {
    /// Parameters and gradients, if the engine owns them.
    pub(crate) owned: Option<(Buffer, Buffer)>,
    /// The state, all slots together, from a byte of a buffer on; `None` if there is none.
    pub(crate) state: Option<(Buffer, u64)>,
    /// Master copies or remainders of the parameters, if they are kept.
    pub(crate) master: Option<Buffer>,
}

/// What dispatches bind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpdateInputs<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) programs: &'a [Program],
    pub(crate) layout: &'a Layout,
    /// In the order of the layout's segments.
    pub(crate) memory: &'a [SegmentBuffers],
    pub(crate) records: &'a Records,
    /// The hyperparameters of all programs, at a dynamic offset.
    pub(crate) hypers: &'a Buffer,
    /// What is summed over each tile, if a rule looks at whole tensors.
    pub(crate) sums: Option<&'a TileSums>,
    /// What rules keep of rows and columns, if one does.
    pub(crate) vectors: Option<&'a Buffer>,
    pub(crate) dummy: &'a Buffer,
}

/// What is bound where a kernel declares a binding that it does not use.
pub(crate) fn dummy(gpu: &Gpu) -> Result<Buffer> {
    gpu.buffer("fallline dummy", 3 * PART_ALIGNMENT, BufferUsages::STORAGE)
}

/// Hyperparameters of programs that have none.
pub(crate) fn no_hypers(gpu: &Gpu) -> Result<Buffer> {
    gpu.buffer("fallline hypers", HYPERS_BYTES, BufferUsages::UNIFORM)
}

/// Dispatches by what they do, in the order of a step.
#[derive(Clone, Debug)]
pub(crate) struct Staged<T> {
    /// Those that sum what rules want summed over tensors.
    pub(crate) reduces: Vec<T>,
    pub(crate) updates: Vec<T>,
    /// In the place of these, where a step is monitored.
    pub(crate) monitored: Vec<T>,
}

impl<T> Default for Staged<T> {
    fn default() -> Self {
        Self { reduces: Vec::new(), updates: Vec::new(), monitored: Vec::new() }
    }
}

impl<T> Staged<T> {
    fn push(&mut self, stage: Stage, dispatch: T) {
        match stage {
            Stage::Reduce => self.reduces.push(dispatch),
            Stage::Update | Stage::Estimate { .. } => self.updates.push(dispatch),
            Stage::MonitoredUpdate => self.monitored.push(dispatch),
        }
    }

    /// What updates in a step.
    pub(crate) fn updates(&self, is_monitored: bool) -> &[T] {
        if is_monitored { &self.monitored } else { &self.updates }
    }

    /// Those of a step that is not monitored.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.reduces.iter().chain(&self.updates)
    }

    /// All.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.reduces.iter_mut().chain(&mut self.updates).chain(&mut self.monitored)
    }

    pub(crate) fn len(&self) -> usize {
        self.reduces.len() + self.updates.len()
    }
}

/// The bindings of a frame.
struct Bindings<'a> {
    tiles: BindingResource<'a>,
    param: BindingResource<'a>,
    /// `None`: the parameter's binding reaches the gradients too.
    grad: Option<BindingResource<'a>>,
    /// A segment, and which tiles of it.
    state: (usize, &'a Range<u32>),
    last: BindingResource<'a>,
}

impl Bindings<'_> {
    /// Bindings that the kernel has no use for get a part of the dummy each, since writable bindings
    /// must not overlap.
    fn bind(
        &self,
        update_inputs: UpdateInputs<'_>,
        label: &str,
        kernel: &Kernel,
        stage: Stage,
    ) -> Result<BindGroup> {
        let none = |number: u64| part(update_inputs.dummy, number * PART_ALIGNMENT, PART_ALIGNMENT);
        let (segment, tiles) = self.state;
        let (memory, number) =
            (&update_inputs.memory[segment], update_inputs.layout.segments[segment].kernel);
        let program = &update_inputs.programs[number];
        let records = update_inputs.records.buffer.as_entire_binding();
        let mut bound = vec![records, self.tiles.clone(), self.param.clone()];
        bound.push(self.grad.clone().unwrap_or_else(|| none(0)));
        bound.push(match &memory.state {
            Some((buffer, first)) => tiles_part(buffer, *first, tiles, program.state_bytes()),
            None => none(1),
        });
        let master_bytes = TILE_ELEMS * program.formats.precision.size_bytes();
        let master = memory.master.as_ref();
        bound.push(master.map_or_else(|| none(2), |b| tiles_part(b, 0, tiles, master_bytes)));
        bound.push(part(update_inputs.hypers, program.hypers_at, HYPERS_BYTES));
        bound.push(self.last.clone());
        if let (true, Some(vectors)) = (program.key.has_vectors(), update_inputs.vectors) {
            bound.push(vectors.as_entire_binding());
        } else if let (
            Stage::Reduce | Stage::MonitoredUpdate,
            Some(TileSums { buffer: sums, offset, .. }),
        ) = (stage, update_inputs.sums)
        {
            let first = offset + update_inputs.layout.first_sum(segment) * SUM_BYTES;
            bound.push(tiles_part(sums, first, tiles, SUM_BYTES));
        }
        bind(update_inputs.gpu, label, kernel, &bound)
    }
}
