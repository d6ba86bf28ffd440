//! What monitored steps tell, behind their updates.

use std::ops::Range;

use wgpu::{Buffer, BufferUsages};

use super::{HISTORY_LEN, Measure, Written, entry_bytes, inputs::StepInputs, workgroups};
use crate::{
    Error, Gpu, Monitor, Result,
    abi::{Span, Total},
    compile,
    dispatch::{BindGroup, Dispatch, Pass, bind, part},
    fits::fits,
    kernel::{Kernel, Recipe},
    limits,
    records::TileSums,
};

/// Rows of an entry for reports: `structs/monitored.wgsl`.
const ROW_BYTES: u64 = 16;

/// Where entries of monitored steps lie, in the buffer of all that reports are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries {
    pub(crate) offset: u64,
    /// Of one entry.
    pub(crate) rows: usize,
    /// As many as there are monitored steps among those that are kept.
    pub(crate) len: u32,
    /// Rows of groups; those behind them are tensors'.
    pub(crate) groups: usize,
}

impl Entries {
    /// Behind the decisions of these bytes.
    pub(super) fn new(
        gpu: &Gpu,
        monitor: Monitor,
        (groups, tensors): (usize, usize),
        decisions_bytes: u64,
    ) -> Result<Self> {
        let len = fits::<u32>(HISTORY_LEN, "64");
        let all = Self {
            offset: decisions_bytes.next_multiple_of(256),
            rows: 1 + groups + if monitor.per_tensor { tensors } else { 0 },
            len: len.div_ceil(monitor.interval.max(1)),
            groups,
        };
        let (expected, found) = (all.size_bytes(), limits::max_binding_bytes(gpu.limits()));
        if expected > found {
            let limit = "max_storage_buffer_binding_size";
            return Err(Error::DeviceLimit { limit, expected, found });
        }
        Ok(all)
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        u64::from(self.len) * self.rows as u64 * ROW_BYTES
    }
}

/// What is bound beside what measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'a> {
    pub(super) inputs: &'a StepInputs,
    pub(super) placements: &'a Buffer,
    pub(super) records: &'a Buffer,
    pub(super) decision: &'a Buffer,
    pub(super) sums: &'a TileSums,
    pub(super) measure: &'a Measure,
}

/// The dispatches behind a monitored update.
#[derive(Clone, Debug)]
pub(crate) struct Monitoring {
    /// Exact sums of each tensor's squares, if tensors are told.
    total: Option<(Dispatch, Buffer)>,
    tensors: Dispatch,
    groups: Dispatch,
}

impl Monitoring {
    pub(super) fn new(
        gpu: &Gpu,
        Monitor { per_tensor, .. }: Monitor,
        bound: Bound<'_>,
        partials: &[Range<u32>],
        groups: usize,
    ) -> Result<Self> {
        let tensors = partials.len() as u64;
        let total = match per_tensor && tensors > 0 {
            true => Some(total(gpu, &bound.measure.partials, partials)?),
            false => None,
        };
        let totals = total.as_ref().map(|(_, totals)| totals);
        let dispatch = |recipe: Recipe, expected: u64| {
            let (x, y) = workgroups(gpu, expected)?;
            let kernel = compile::kernel(gpu, recipe)?;
            let bind_group = bind_norms(gpu, &kernel, bound, totals)?;
            Ok::<_, Error>(Dispatch { kernel, bind_group, workgroups: [x, y, 1] })
        };
        let of_tensors = dispatch(Recipe::TensorNorms { per_tensor }, tensors)?;
        let of_groups = dispatch(Recipe::GroupNorms { per_tensor }, groups as u64)?;
        Ok(Self { tensors: of_tensors, groups: of_groups, total })
    }

    /// The same with other inputs.
    pub(super) fn with_inputs(&self, gpu: &Gpu, bound: Bound<'_>) -> Result<Self> {
        let mut all = self.clone();
        let totals = self.total.as_ref().map(|(_, totals)| totals);
        for dispatch in [&mut all.tensors, &mut all.groups] {
            dispatch.bind_group = bind_norms(gpu, &dispatch.kernel, bound, totals)?;
        }
        Ok(all)
    }

    pub(super) fn record(&self, pass: &mut dyn Pass, written: &Written) {
        if let Some((total, _)) = &self.total {
            total.record(pass, &[]);
        }
        self.tensors.record(pass, &[written.input]);
        self.groups.record(pass, &[written.input]);
    }
}

/// The dispatch that adds up each tensor's partials, and these sums.
fn total(gpu: &Gpu, partials: &Buffer, of_tensors: &[Range<u32>]) -> Result<(Dispatch, Buffer)> {
    let span = |range: &Range<u32>| Span {
        first: range.start,
        end: range.end,
        ..bytemuck::Zeroable::zeroed()
    };
    // The first is that of all, which no sum is made of.
    let spans: Vec<Span> = std::iter::once(&(0..0)).chain(of_tensors).map(span).collect();
    let spans = gpu.filled("fallline spans of tensors", BufferUsages::STORAGE, &spans)?;
    let size_bytes = (of_tensors.len() * size_of::<Total>()) as u64;
    let totals = gpu.buffer("fallline totals of tensors", size_bytes, BufferUsages::STORAGE)?;
    let kernel = compile::kernel(gpu, Recipe::Total)?;
    let bound = [&spans, partials, &totals].map(Buffer::as_entire_binding);
    let bind_group = bind(gpu, "fallline total of tensors", &kernel, &bound)?;
    let (x, y) = workgroups(gpu, of_tensors.len() as u64)?;
    Ok((Dispatch { kernel, bind_group, workgroups: [x, y, 1] }, totals))
}

fn bind_norms(
    gpu: &Gpu,
    kernel: &Kernel,
    bound: Bound<'_>,
    totals: Option<&Buffer>,
) -> Result<BindGroup> {
    let Bound { inputs, placements, records, decision, sums, measure } = bound;
    let entire = Buffer::as_entire_binding;
    let (input, _) = inputs.bindings();
    let mut resources = vec![input, entire(placements)];
    if matches!(*kernel.recipe, Recipe::TensorNorms { .. }) {
        resources.push(entire(records));
    }
    let entries = measure.entries.ok_or(Error::NothingToReport)?;
    // Kernels count groups by it, and a buffer may be longer.
    resources.push(part(decision, 0, entry_bytes(entries.groups)));
    if matches!(*kernel.recipe, Recipe::TensorNorms { .. }) {
        // Where tensors are not told nothing of it is read.
        resources.push(entire(totals.unwrap_or(&measure.totals)));
    }
    resources.push(sums.binding());
    resources.push(part(&measure.history, entries.offset, entries.size_bytes()));
    bind(gpu, kernel.recipe.label(), kernel, &resources)
}
