//! What happens in a step before the update: gradients are measured, something is decided, steps are
//! counted; and the input and the records that these need.

mod inputs;
mod measure;
mod monitor;
mod reduce;
mod rows;
mod sums;

use wgpu::{BindingResource, Buffer, BufferUsages};

pub(crate) use inputs::{EntrySizes, Input, StepConstants, StepInputs, Written};
pub(crate) use measure::{HISTORY_LEN, Measure, entry_bytes};
pub(crate) use monitor::Entries;
#[cfg(test)]
pub(crate) use reduce::SMALL_TILES;
#[cfg(test)]
pub(crate) use rows::ROW_TILES;
pub(crate) use rows::{Measured, RowDispatch, RowPieces, RowWindow, Summed};
pub use sums::Sums;

use self::{monitor::Monitoring, reduce::Reduce};
use crate::{
    Error, Gpu, Group, Options, Result,
    abi::{self, NO_TENSOR, Placement},
    compile,
    dispatch::{BindGroup, BindGroups, Dispatch, PartDispatch, Pass, bind, part},
    kernel::{self, HYPERS_BYTES, Kernel, KernelKey, Margins, Recipe},
    limits::max_workgroups,
    records::{Records, TileSums},
    rule_set::RuleSet,
    rules::narrow,
    tiles::Bound,
    transfer,
    vectors::Vectors,
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
    /// What comes behind a monitored update.
    monitoring: Option<Monitoring>,
    /// For each rule.
    advance: Vec<Dispatch>,
    /// What rules sum, and what becomes of that.
    pub(crate) reduce: Reduce,
    /// Pieces of gradients that are summed.
    pub(crate) rows: RowPieces,
    /// For each rule, for what it sums of rows and columns.
    margins: Vec<(KernelKey, u64)>,
}

/// What is made for an optimizer before its control.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) options: &'a Options,
    pub(crate) rules: &'a RuleSet,
    pub(crate) placements: &'a [Placement],
    /// What is summed over each tile, if a rule looks at whole tensors; what rules keep of rows and columns.
    pub(crate) sums: (Option<TileSums>, &'a Vectors),
    /// The pieces of gradients to sum.
    pub(crate) rows: RowPieces,
    /// Where tensors lie at first, and room for the bytes of other places.
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
        let kept_bytes = (tensors + rules.joints()) * size_of::<abi::Kept>();
        let kept = gpu.buffer("fallline kept scalars", kept_bytes as u64, usage)?;
        let clip_value = options.clip_value.map_or(f32::MAX, narrow);
        let constants = StepConstants {
            clip_value,
            seed: options.seed,
            groups: rules.records(groups),
            hypers: rules.hyper_bytes(clip_value, options.seed),
        };
        let decision = first_decision(gpu, groups.len())?;
        let measures = options.measures(groups);
        let sizes = EntrySizes {
            tensors,
            groups: groups.len(),
            hypers_bytes: constants.hypers.len(),
            has_totals: measures,
        };
        let inputs = StepInputs::new(gpu, sizes, places, room)?;
        let records_of_places = placements.to_vec();
        let placements = gpu.filled("fallline placements", BufferUsages::STORAGE, placements)?;
        let measure = measures
            .then(|| Measure::new(gpu, groups, options, &rows, &inputs, &decision))
            .transpose()?;
        let buffers = [&placements, &decision, &steps, &kept, &records.buffer];
        // A lane for each tensor.
        let (x, y) = workgroups(gpu, tensors.div_ceil(64) as u64)?;
        let mut advance = Vec::new();
        for (number, key) in (0u32..).zip(&rules.keys) {
            let recipe = Recipe::Advance { key: key.clone(), number, counts: true };
            let kernel = compile::kernel(gpu, recipe)?;
            let bind_group = bind_advance(gpu, &kernel, &inputs, buffers)?;
            advance.push(Dispatch { kernel, bind_group, workgroups: [x, y, 1] });
        }
        let bound = reduce::Bound {
            inputs: &inputs,
            placements: &placements,
            records: &records.buffer,
            kept: &kept,
        };
        let reduce = Reduce::new(gpu, rules, sums, bound, &records_of_places, groups.len())?;
        let monitoring = match (options.monitor, &measure, reduce.for_elements().0) {
            (Some(monitor), Some(measure), Some(sums)) => {
                let (placements, records, decision) = (&placements, &records.buffer, &decision);
                let inputs = &inputs;
                let bound = monitor::Bound { inputs, placements, records, decision, sums, measure };
                Some(Monitoring::new(gpu, monitor, bound, &rows.partials, groups.len())?)
            }
            _ => None,
        };
        let keys = rules.keys.iter().enumerate();
        let margins = keys.map(|(rule, key)| (key.clone(), rules.offset(rule) as u64)).collect();
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
            monitoring,
            advance,
            reduce,
            rows,
            margins,
        })
    }

    /// The seed of stochastic rounding.
    pub(crate) fn seed(&self) -> u32 {
        self.constants.seed
    }

    /// A tensor's number in stochastic rounding.
    pub(crate) fn number(&self, tensor: usize) -> u32 {
        self.records_of_places[tensor].number
    }

    /// Sets the seed, and the number of every tensor.
    pub(crate) fn write_identity(
        &mut self,
        gpu: &Gpu,
        rules: &RuleSet,
        seed: u32,
        numbers: &[u32],
    ) -> Result<()> {
        let constants = &mut self.constants;
        constants.seed = seed;
        constants.hypers = rules.hyper_bytes(constants.clip_value, seed);
        for (place, number) in self.records_of_places.iter_mut().zip(numbers) {
            place.number = *number;
        }
        gpu.write("fallline placements", &self.placements, 0, &self.records_of_places)
    }

    /// What is decided about a step.
    pub(crate) fn decision(&self) -> &Buffer {
        &self.decision
    }

    /// What was decided about the last step, without its norms.
    pub(crate) async fn fetch_decision(&self, gpu: &Gpu) -> Result<abi::Decision> {
        let head: Vec<abi::Decision> = transfer::fetch(gpu, &self.decision, 0, 1).await?;
        Ok(head[0])
    }

    /// The buffers that steps change.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &Buffer> {
        let history = self.measure.as_ref().map(|measure| &measure.history);
        [&self.decision, &self.steps, &self.kept].into_iter().chain(history)
    }

    /// Copies what was decided about the last steps.
    pub(crate) fn copy_decisions(&self, into: &Self, encoder: &mut wgpu::CommandEncoder) {
        let mut copy = |from: &Buffer, to: &Buffer, size: u64| {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, size);
        };
        copy(&self.decision, &into.decision, self.decision.size());
        if let (Some(from), Some(to)) = (&self.measure, &into.measure) {
            // What monitored steps told of other tensors has another form: it is left behind.
            let decisions_bytes = HISTORY_LEN * entry_bytes(self.constants.groups.len());
            let is_same = from.history.size() == to.history.size();
            let size = if is_same { from.history.size() } else { decisions_bytes };
            copy(&from.history, &to.history, size);
        }
    }

    /// Sets how many steps there were, and how many of them were skipped.
    pub(crate) fn write_decision(&self, gpu: &Gpu, step: u32, skipped_total: u32) -> Result<()> {
        gpu.write("fallline decision", &self.decision, 0, &[step, 0, skipped_total])?;
        let none = std::mem::offset_of!(abi::Decision, not_finite) as u64;
        gpu.write("fallline decision", &self.decision, none, &[NO_TENSOR, 0, NO_TENSOR])
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
        let (records, inputs_of) = (&records.buffer, &inputs);
        let bound = reduce::Bound { inputs: inputs_of, placements, records, kept };
        let reduce = self.reduce.with_inputs(gpu, bound)?;
        let monitoring = match (&self.monitoring, &measure, reduce.for_elements().0) {
            (Some(monitoring), Some(measure), Some(sums)) => {
                let inputs = &inputs;
                let bound = monitor::Bound { inputs, placements, records, decision, sums, measure };
                Some(monitoring.with_inputs(gpu, bound)?)
            }
            _ => None,
        };
        Ok(Self { measure, monitoring, advance, reduce, inputs, ..self.clone() })
    }

    /// Dispatches that make records of what may be evaluated, one for each rule.
    pub(crate) fn evaluated(&self, gpu: &Gpu) -> Result<Vec<Dispatch>> {
        let stands_still = |dispatch: &Dispatch| {
            let Recipe::Advance { key, number, .. } = &*dispatch.kernel.recipe else {
                return Ok(dispatch.clone());
            };
            let recipe = Recipe::Advance { key: key.clone(), number: *number, counts: false };
            Ok(Dispatch { kernel: compile::kernel(gpu, recipe)?, ..dispatch.clone() })
        };
        self.advance.iter().map(stands_still).collect()
    }

    /// What writes records for a pass outside of a step: of tensors with at least `from_step` steps.
    pub(crate) fn enlist(&self, gpu: &Gpu, from_step: u32) -> Result<Dispatch> {
        let kernel = compile::kernel(gpu, Recipe::Enlist { from_step })?;
        let (input, absent) = self.inputs.bindings();
        let buffers = [&self.placements, &self.steps, &self.records.buffer];
        let buffers = buffers.map(Buffer::as_entire_binding);
        let bound: Vec<_> =
            [input, absent, self.inputs.groups()].into_iter().chain(buffers).collect();
        let bind_group = bind(gpu, "fallline enlist", &kernel, &bound)?;
        let (x, y) = workgroups(gpu, self.records_of_places.len().div_ceil(64) as u64)?;
        Ok(Dispatch { kernel, bind_group, workgroups: [x, y, 1] })
    }

    /// Dispatches that count steps, one for each rule, and that make something of sums.
    pub(crate) fn rule_dispatches(&self) -> usize {
        self.advance.len() + self.reduce.len()
    }

    /// Records what comes between what rules want summed over tensors and the update.
    pub(crate) fn record_finish(&self, pass: &mut dyn Pass, written: &Written) {
        self.reduce.record_decide(pass, written);
    }

    /// Records what a monitored step tells, behind its update.
    pub(crate) fn record_monitoring(&self, pass: &mut dyn Pass, written: &Written) {
        if let Some(monitoring) = self.monitoring.as_ref().filter(|_| written.is_monitored) {
            monitoring.record(pass, written);
        }
    }

    /// What some steps measure, if anything.
    pub(crate) fn measure(&self) -> Option<&Measure> {
        self.measure.as_ref()
    }

    /// Records what is measured.
    pub(crate) fn record_measure(
        &self,
        pass: &mut dyn Pass,
        written: &Written,
        rows: &[PartDispatch],
    ) {
        if let Some(measure) = self.measure.as_ref().filter(|measure| measure.is_in(written)) {
            measure.record(pass, written, rows);
        }
    }

    /// Records what comes between measuring and the update: something is decided, by sums of the outside if
    /// there are any, and steps are counted.
    pub(crate) fn record_decide(
        &self,
        pass: &mut dyn Pass,
        written: &Written,
        rows: &[PartDispatch],
        outside: bool,
    ) {
        if let Some(measure) = self.measure.as_ref().filter(|measure| measure.is_in(written)) {
            measure.record_decide(pass, written, outside);
        }
        for advance in &self.advance {
            advance.record(pass, &[written.input, written.absent, written.groups]);
        }
        for PartDispatch { dispatch, offset } in rows.iter().filter(|rows| is_margins(rows)) {
            // Hyperparameters are bound from the rule's own on.
            dispatch.record(pass, &[written.places + offset, written.hypers]);
        }
        self.reduce.record_keep(pass, written);
    }

    /// The dispatches over these rows, which lie at these offsets of a step's places.
    pub(crate) fn bind_rows<'b>(
        &self,
        gpu: &Gpu,
        (rows, offsets): (&[RowDispatch], &[u32]),
        buffers: impl Fn(usize) -> Option<&'b Buffer>,
        (bind_groups, step): (&mut BindGroups<RowWindow>, u64),
    ) -> Result<Vec<PartDispatch>> {
        let mut dispatches = Vec::with_capacity(rows.len());
        for (dispatch, &offset) in rows.iter().zip(offsets) {
            let window = &dispatch.window;
            let kernel = compile::kernel(gpu, self.rows_recipe(window))?;
            let bind_group = bind_groups.get(window, step, || {
                // Of no gradient, anything will do: nothing of it counts.
                let lent = window.grad.as_ref();
                let lent = lent.and_then(|bound| Some((buffers(bound.buffer)?, bound)));
                let grad = match lent {
                    Some((buffer, Bound { bytes, .. })) => {
                        part(buffer, bytes.start, bytes.end - bytes.start)
                    }
                    None => part(&self.decision, 0, 16),
                };
                self.bind_window(gpu, &kernel, window.summed, grad)
            })?;
            let (x, y) = kernel::fold(dispatch.workgroups().into(), gpu.limits());
            let dispatch = Dispatch { kernel, bind_group, workgroups: [x, y, 1] };
            dispatches.push(PartDispatch { dispatch, offset });
        }
        Ok(dispatches)
    }

    fn rows_recipe(&self, window: &RowWindow) -> Recipe {
        let RowWindow { dtype: grad, ragged, summed, .. } = *window;
        match summed {
            Summed::Squares => Recipe::Measure { grad, ragged },
            Summed::Margins { rule, lane_vec4s } => Recipe::Margins(Margins {
                key: self.margins[rule].0.clone(),
                grad,
                ragged,
                tensors_in: self.records.tensors_in,
                clip_value: self.constants.clip_value < f32::MAX,
                lane_vec4s,
            }),
        }
    }

    fn bind_window(
        &self,
        gpu: &Gpu,
        kernel: &Kernel,
        summed: Summed,
        grad: BindingResource<'_>,
    ) -> Result<BindGroup> {
        let entire = Buffer::as_entire_binding;
        let places = self.inputs.places();
        let (measure, vectors) = (self.measure.as_ref(), self.reduce.vectors.as_ref());
        let bound = match (summed, measure, vectors) {
            (Summed::Squares, Some(measure), _) => {
                let (_, absent) = self.inputs.bindings();
                vec![absent, places, grad, entire(&measure.partials)]
            }
            (Summed::Margins { rule, .. }, _, Some(memory)) => {
                let hypers = part(self.inputs.buffer(), self.margins[rule].1, HYPERS_BYTES);
                let [matrices, parts] = [&memory.matrices, &memory.parts].map(entire);
                vec![entire(&self.records.buffer), places, grad, matrices, parts, hypers]
            }
            _ => Vec::new(),
        };
        bind(gpu, kernel.recipe.label(), kernel, &bound)
    }
}

/// The grid of this many workgroups, if the device permits it.
fn workgroups(gpu: &Gpu, expected: u64) -> Result<(u32, u32)> {
    let found = max_workgroups(gpu.limits());
    if expected > found {
        let limit = "max_compute_workgroups_per_dimension squared";
        return Err(Error::DeviceLimit { limit, expected, found });
    }
    Ok(kernel::fold(expected, gpu.limits()))
}

/// Whether a dispatch sums rows and columns.
pub(crate) fn is_margins(rows: &PartDispatch) -> bool {
    matches!(*rows.dispatch.kernel.recipe, Recipe::Margins(_))
}

/// The decision before the first step, and in every step of an optimizer that has nothing to decide.
fn first_decision(gpu: &Gpu, groups: usize) -> Result<Buffer> {
    let head = abi::Decision {
        loss_scale: 1.0,
        unscale: 1.0,
        not_finite: NO_TENSOR,
        first_tensor: NO_TENSOR,
        ..bytemuck::Zeroable::zeroed()
    };
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
