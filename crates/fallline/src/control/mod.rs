//! What happens in a step before the update: gradients are measured, something is decided, steps are
//! counted; and the input and the records that these need.

mod inputs;
mod measure;
mod rows;
mod sums;

use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

pub(crate) use inputs::{EntrySizes, Input, StepConstants, StepInputs, Written};
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
    compile,
    dispatch::{Dispatch, PartDispatch, bind},
    kernel::{self, Kernel, Recipe},
    limits::max_workgroups,
    records::Records,
    rule_set::RuleSet,
    rules::narrow,
    transfer,
};

/// The GPU buffers and the kernels that come before the update.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) inputs: StepInputs,
    /// What the next step brings.
    pub(crate) constants: StepConstants,
    placements: Buffer,
    /// What this holds.
    records_of_places: Vec<Placement>,
    /// What is decided about a step, and the report of it.
    decision: Buffer,
    /// Step counter of each tensor.
    pub(crate) steps: Buffer,
    /// What rules keep for each tensor.
    pub(crate) kept: Buffer,
    pub(crate) records: Records,
    measure: Option<Measure>,
    /// For each rule.
    advance: Vec<Dispatch>,
    /// What is summed over each tile, and for each rule that looks at whole tensors what becomes of that.
    pub(crate) sums: Option<Buffer>,
    finish: Vec<Dispatch>,
}

/// What is made for an optimizer before its control.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) options: &'a Options,
    pub(crate) rules: &'a RuleSet,
    pub(crate) placements: &'a [Placement],
    /// What is summed over each tile, if a rule looks at whole tensors.
    pub(crate) sums: Option<Buffer>,
    /// The rows to measure, if anything is measured.
    pub(crate) rows: Option<RowPieces>,
    /// Where tensors lie at first, and how many bytes of other places there is room for.
    pub(crate) places: &'a [u8],
    pub(crate) room: usize,
}

impl Control {
    pub(crate) fn new(gpu: &Gpu, start: Start<'_>) -> Result<Self> {
        let Start { groups, options, rules, placements, sums, rows, places, room } = start;
        let tensors = placements.len();
        let records = Records::new(gpu, tensors)?;
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let of_each =
            |label: &str, bytes: usize| gpu.buffer(label, (tensors.max(1) * bytes) as u64, usage);
        let steps = of_each("fallline steps", size_of::<u32>())?;
        let kept = of_each("fallline kept scalars", size_of::<abi::Kept>())?;
        let clip_value = options.clip_value.map_or(f32::MAX, narrow);
        let constants = StepConstants {
            groups: rules.records(groups, clip_value, options.seed),
            hypers: rules.hyper_bytes(),
        };
        let decision = first_decision(gpu, groups.len())?;
        let sizes = EntrySizes {
            tensors,
            groups: groups.len(),
            hypers_bytes: constants.hypers.len(),
            has_totals: rows.is_some(),
        };
        let inputs = StepInputs::new(gpu, sizes, places, room)?;
        let records_of_places = placements.to_vec();
        let placements = gpu.filled("fallline placements", BufferUsages::STORAGE, placements)?;
        let measure = rows
            .map(|rows| Measure::new(gpu, groups, options, rows, &inputs, &decision))
            .transpose()?;
        let buffers = [&placements, &decision, &steps, &kept, &records.buffer];
        // A lane for each tensor.
        let (x, y) = workgroups(gpu, tensors.div_ceil(64))?;
        let mut advance = Vec::new();
        for (number, key) in (0u32..).zip(&rules.keys) {
            let kernel = compile::kernel(gpu, Recipe::Advance { key: key.clone(), number })?;
            let bind_group = bind_advance(gpu, &kernel, &inputs, buffers)?;
            advance.push(Dispatch { kernel, bind_group, workgroups: [x, y, 1] });
        }
        let mut finish = Vec::new();
        if let Some(sums) = &sums {
            // A workgroup for each tensor.
            let (x, y) = workgroups(gpu, tensors)?;
            let buffers = [&placements, sums, &records.buffer];
            for (number, key) in (0u32..).zip(&rules.keys).filter(|(_, key)| key.reduces) {
                let kernel = compile::kernel(gpu, Recipe::Finish { key: key.clone(), number })?;
                let bind_group = bind_finish(gpu, &kernel, &inputs, buffers)?;
                finish.push(Dispatch { kernel, bind_group, workgroups: [x, y, 1] });
            }
        }
        Ok(Self {
            inputs,
            constants,
            placements,
            records_of_places,
            decision,
            steps,
            kept,
            records,
            measure,
            advance,
            sums,
            finish,
        })
    }

    /// The seed of stochastic rounding.
    pub(crate) fn seed(&self) -> u32 {
        self.constants.groups.first().map_or(0, |group| group.seed)
    }

    /// A tensor's number in stochastic rounding.
    pub(crate) fn number(&self, tensor: usize) -> u32 {
        self.records_of_places[tensor].number
    }

    /// Sets the seed, and the number of every tensor.
    pub(crate) fn write_identity(&mut self, gpu: &Gpu, seed: u32, numbers: &[u32]) -> Result<()> {
        for group in &mut self.constants.groups {
            group.seed = seed;
        }
        for (place, number) in self.records_of_places.iter_mut().zip(numbers) {
            place.number = *number;
        }
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
        let sizes = EntrySizes {
            tensors: self.records_of_places.len(),
            groups: self.constants.groups.len(),
            hypers_bytes: self.constants.hypers.len(),
            has_totals: self.measure.is_some(),
        };
        StepInputs::new(gpu, sizes, &[], room)
    }

    /// The same counters, records and decisions with other inputs.
    pub(crate) fn with_inputs(&self, gpu: &Gpu, inputs: StepInputs) -> Result<Self> {
        let measure = self.measure.as_ref().map(|measure| measure.with_inputs(gpu, &inputs));
        let measure = measure.transpose()?;
        let Self { placements, decision, steps, kept, records, .. } = self;
        let buffers = [placements, decision, steps, kept, &records.buffer];
        let mut advance = self.advance.clone();
        for dispatch in &mut advance {
            dispatch.bind_group = bind_advance(gpu, &dispatch.kernel, &inputs, buffers)?;
        }
        let mut finish = self.finish.clone();
        if let Some(sums) = &self.sums {
            let buffers = [placements, sums, &records.buffer];
            for dispatch in &mut finish {
                dispatch.bind_group = bind_finish(gpu, &dispatch.kernel, &inputs, buffers)?;
            }
        }
        Ok(Self { inputs, measure, advance, finish, ..self.clone() })
    }

    /// Dispatches that count steps, one for each rule, and that finish what is summed over tensors.
    pub(crate) fn rule_dispatches(&self) -> usize {
        self.advance.len() + self.finish.len()
    }

    /// Records what comes between what rules want summed over tensors and the update.
    pub(crate) fn record_finish(&self, pass: &mut ComputePass<'_>, written: &Written) {
        for finish in &self.finish {
            finish.record(pass, &[written.groups]);
        }
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
        for advance in &self.advance {
            advance.record(pass, &[written.input, written.absent, written.groups]);
        }
    }
}

/// The grid of this many workgroups, if the device has them.
fn workgroups(gpu: &Gpu, expected: usize) -> Result<(u32, u32)> {
    let (expected, found) = (expected as u64, max_workgroups(gpu.limits()));
    if expected > found {
        let limit = "max_compute_workgroups_per_dimension squared";
        return Err(Error::DeviceLimit { limit, expected, found });
    }
    Ok(kernel::fold(expected, gpu.limits()))
}

fn bind_finish(
    gpu: &Gpu,
    kernel: &Kernel,
    inputs: &StepInputs,
    buffers: [&Buffer; 3],
) -> Result<BindGroup> {
    let buffers = buffers.map(Buffer::as_entire_binding);
    let bound: Vec<_> = std::iter::once(inputs.groups()).chain(buffers).collect();
    bind(gpu, "fallline finish", kernel, &bound)
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
    let bound: Vec<_> = [input, absent, inputs.groups()].into_iter().chain(buffers).collect();
    bind(gpu, "fallline advance", kernel, &bound)
}
