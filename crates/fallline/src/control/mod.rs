//! What happens in a step before the update: gradients are measured, something is decided, steps are
//! counted; and the input and the records that these need.

mod inputs;
mod measure;
mod rows;
mod sums;

use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

pub(crate) use inputs::{Input, StepInputs, Written};
#[cfg(test)]
pub(crate) use measure::HISTORY_LEN;
pub(crate) use measure::{Measure, entry_bytes};
#[cfg(test)]
pub(crate) use rows::ROW_TILES;
pub(crate) use rows::{Measured, RowDispatch, RowPieces, RowWindow};
pub use sums::Sums;

use crate::{
    Error, Gpu, Group, Options, Result,
    abi::{self, Placement},
    kernel::{self, Kernel, MAX_UNIFORM_TENSORS, Recipe, TableIn},
    plan::{Dispatch, PartDispatch, bind, max_workgroups},
    rules::{Definition, narrow},
    transfer,
};

/// The GPU buffers and the kernels that come before the update.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) inputs: StepInputs,
    groups: Buffer,
    placements: Buffer,
    /// What these two hold.
    records_of_groups: Vec<abi::Group>,
    records_of_places: Vec<Placement>,
    /// What is decided about a step, and the report of it.
    decision: Buffer,
    /// Step counter of each tensor.
    pub(crate) steps: Buffer,
    pub(crate) records: Records,
    measure: Option<Measure>,
    advance: Dispatch,
}

/// The record of each tensor, for the update.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) buffer: Buffer,
    pub(crate) tensors_in: TableIn,
}

impl Records {
    pub(crate) fn new(gpu: &Gpu, tensors: usize) -> Result<Self> {
        let tensors_in = TableIn::for_tensors(tensors, gpu.limits());
        let (len, usage) = match tensors_in {
            TableIn::Uniform => (MAX_UNIFORM_TENSORS, BufferUsages::UNIFORM),
            TableIn::Storage => (tensors.max(1), BufferUsages::empty()),
        };
        let usage = usage | BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let size = (len * size_of::<abi::Tensor>()) as u64;
        Ok(Self { buffer: gpu.buffer("fallline tensors", size, usage)?, tensors_in })
    }
}

/// What is made for an optimizer before its control.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) options: &'a Options,
    /// For each group, which of its kernel's hyperparameters are its own.
    pub(crate) hypers: &'a [u32],
    pub(crate) placements: &'a [Placement],
    /// The rows to measure, if anything is measured.
    pub(crate) rows: Option<RowPieces>,
    /// Where tensors lie at first, and room for so many bytes of other places.
    pub(crate) places: &'a [u8],
    pub(crate) room: usize,
}

impl Control {
    pub(crate) fn new(gpu: &Gpu, start: Start<'_>) -> Result<Self> {
        let Start { groups, options, hypers, placements, rows, places, room } = start;
        let tensors = placements.len();
        let records = Records::new(gpu, tensors)?;
        let steps_size = tensors.max(1) as u64 * 4;
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let steps = gpu.buffer("fallline steps", steps_size, usage)?;
        let group_records: Vec<abi::Group> = groups
            .iter()
            .zip(hypers)
            .map(|(group, hyper)| group_record(group.rule.definition(), options, *hyper))
            .collect();
        let groups_buffer = gpu.filled("fallline groups", BufferUsages::STORAGE, &group_records)?;
        let decision = first_decision(gpu, groups.len())?;
        let totals = if rows.is_some() { groups.len() } else { 0 };
        let inputs = StepInputs::new(gpu, (tensors, totals), places, room)?;
        let records_of_places = placements.to_vec();
        let placements = gpu.filled("fallline placements", BufferUsages::STORAGE, placements)?;
        let measure = rows
            .map(|rows| Measure::new(gpu, groups, options, rows, &inputs, &decision))
            .transpose()?;
        let buffers = [&groups_buffer, &placements, &decision, &steps, &records.buffer];
        let kernel = kernel::kernel(gpu, Recipe::Advance)?;
        let bind_group = bind_advance(gpu, &kernel, &inputs, buffers)?;
        let (x, y) = advance_workgroups(gpu, tensors)?;
        let advance = Dispatch { kernel, bind_group, workgroups: [x, y, 1] };
        let groups = groups_buffer;
        let records_of_groups = group_records;
        Ok(Self {
            inputs,
            groups,
            placements,
            records_of_groups,
            records_of_places,
            decision,
            steps,
            records,
            measure,
            advance,
        })
    }

    /// The seed of stochastic rounding.
    pub(crate) fn seed(&self) -> u32 {
        self.records_of_groups.first().map_or(0, |group| group.seed)
    }

    /// A tensor's number in stochastic rounding.
    pub(crate) fn number(&self, tensor: usize) -> u32 {
        self.records_of_places[tensor].number
    }

    /// Sets the seed, and the number of every tensor.
    pub(crate) fn write_identity(&mut self, gpu: &Gpu, seed: u32, numbers: &[u32]) -> Result<()> {
        for group in &mut self.records_of_groups {
            group.seed = seed;
        }
        for (place, number) in self.records_of_places.iter_mut().zip(numbers) {
            place.number = *number;
        }
        gpu.write("fallline groups", &self.groups, 0, &self.records_of_groups)?;
        gpu.write("fallline placements", &self.placements, 0, &self.records_of_places)
    }

    /// What was decided about the last step, without its norms.
    pub(crate) async fn fetch_decision(&self, gpu: &Gpu) -> Result<abi::Decision> {
        let head: Vec<abi::Decision> = transfer::fetch(gpu, &self.decision, 0, 1).await?;
        Ok(head[0])
    }

    /// Copies what was decided about the last steps.
    pub(crate) fn copy_decisions(&self, into: &Self, encoder: &mut wgpu::CommandEncoder) {
        let mut copy = |from: &Buffer, to: &Buffer| {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size().min(to.size()));
        };
        copy(&self.decision, &into.decision);
        if let (Some(from), Some(to)) = (&self.measure, &into.measure) {
            copy(&from.history, &to.history);
        }
    }

    /// Sets how many steps there were, and how many of them were skipped.
    pub(crate) fn write_decision(&self, gpu: &Gpu, step: u32, skipped_total: u32) -> Result<()> {
        gpu.write("fallline decision", &self.decision, 0, &[step, 0, skipped_total])
    }

    /// Other inputs, without places of the beginning.
    pub(crate) fn inputs_with_room(&self, gpu: &Gpu, room: usize) -> Result<StepInputs> {
        let groups = self.records_of_groups.len();
        let totals = if self.measure.is_some() { groups } else { 0 };
        StepInputs::new(gpu, (self.records_of_places.len(), totals), &[], room)
    }

    /// The same counters, records and decisions with other inputs.
    pub(crate) fn with_inputs(&self, gpu: &Gpu, inputs: StepInputs) -> Result<Self> {
        let measure = self.measure.as_ref().map(|measure| measure.with_inputs(gpu, &inputs));
        let measure = measure.transpose()?;
        let Self { groups, placements, decision, steps, records, .. } = self;
        let buffers = [groups, placements, decision, steps, &records.buffer];
        let bind_group = bind_advance(gpu, &self.advance.kernel, &inputs, buffers)?;
        let advance = Dispatch { bind_group, ..self.advance.clone() };
        Ok(Self { inputs, measure, advance, ..self.clone() })
    }

    /// What a step measures, if anything.
    pub(crate) fn measure(&self) -> Option<&Measure> {
        self.measure.as_ref()
    }

    /// Records what is measured.
    pub(crate) fn record_measure(
        &self,
        pass: &mut ComputePass<'_>,
        written: &Written,
        rows: &[PartDispatch],
    ) {
        if let Some(measure) = &self.measure {
            measure.record(pass, written, rows);
        }
    }

    /// Records what comes between measuring and the update: something is decided, by sums of the outside if
    /// there are any, and steps are counted.
    pub(crate) fn record_decide(
        &self,
        pass: &mut ComputePass<'_>,
        written: &Written,
        outside: bool,
    ) {
        if let Some(measure) = &self.measure {
            measure.record_decide(pass, written, outside);
        }
        self.advance.record(pass, &[written.input, written.absent]);
    }
}

/// A lane for each tensor.
fn advance_workgroups(gpu: &Gpu, tensors: usize) -> Result<(u32, u32)> {
    let (expected, found) = (tensors.div_ceil(64) as u64, max_workgroups(gpu.limits()));
    if expected > found {
        let limit = "max_compute_workgroups_per_dimension squared";
        return Err(Error::DeviceLimit { limit, expected, found });
    }
    Ok(kernel::fold(expected, gpu.limits()))
}

/// The decision before the first step, and in every step of an optimizer that has nothing to decide.
fn first_decision(gpu: &Gpu, groups: usize) -> Result<Buffer> {
    let head = abi::Decision { loss_scale: 1.0, unscale: 1.0, ..bytemuck::Zeroable::zeroed() };
    let norms = vec![abi::Norm { norm: 0.0, clip_factor: 1.0 }; 1 + groups];
    let bytes = [bytemuck::bytes_of(&head), bytemuck::cast_slice(&norms)].concat();
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
    gpu.filled("fallline decision", usage, &bytes)
}

fn bind_advance(
    gpu: &Gpu,
    kernel: &Kernel,
    inputs: &StepInputs,
    buffers: [&Buffer; 5],
) -> Result<BindGroup> {
    let (input, absent) = inputs.bindings();
    let buffers = buffers.map(Buffer::as_entire_binding);
    let bound: Vec<_> = [input, absent].into_iter().chain(buffers).collect();
    bind(gpu, "fallline advance", kernel, &bound)
}

/// ln β for the kernel; a β of 0 (also: no bias correction) is far below any that matters.
fn ln_beta(beta: f64) -> f32 {
    narrow(beta.ln().max(-10_000.0))
}

fn group_record(rule: &dyn Definition, options: &Options, hyper: u32) -> abi::Group {
    let (beta1, beta2) = rule.bias_correction_betas();
    abi::Group {
        ln_beta1: ln_beta(beta1),
        ln_beta2: ln_beta(beta2),
        grad_sign: if rule.maximize() { -1.0 } else { 1.0 },
        hyper,
        clip_value: options.clip_value.map_or(f32::MAX, narrow),
        seed: options.seed,
        padding0: 0,
        padding1: 0,
    }
}
