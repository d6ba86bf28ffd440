//! The public type: groups, tensors, and a step for all of them.

mod accumulate;
mod aside;
mod blueprint;
mod borrowed;
mod build;
mod estimate;
mod evaluate;
mod freeze;
mod halves;
mod info;
mod plan;
mod reports;
mod rules;
mod snapshot;
mod step;
mod tensors;
mod traffic;
mod values;

use std::collections::HashMap;

use wgpu::{Buffer, CommandEncoder, ComputePass};

pub use accumulate::{Accumulator, MicroGrad};
#[cfg(test)]
pub(crate) use borrowed::EXPAND_COLUMN;
pub use estimate::Estimate;
pub use evaluate::Mode;
pub use halves::MeasuredStep;
pub use snapshot::Snapshot;
pub use step::Step;
pub use traffic::Traffic;

pub(crate) use info::Info;
pub(crate) use values::SlotPlace;

use self::{
    borrowed::{Borrowed, Placed},
    evaluate::Evaluating,
    info::PerStep,
};
use crate::{
    BufferRange, Error, Gpu, Group, Monitor, Options, Places, Result, Role, Slot, TensorId,
    TensorSpec,
    control::{Control, Input, Written, is_margins},
    dispatch::{Dispatch, PartDispatch, Pass},
    kernel::Program,
    layout::Layout,
    report::Reports,
    ring::Entry,
    rule_set::RuleSet,
    update::{Fixed, SegmentBuffers, Staged, UpdateInputs},
    vectors::Vectors,
};

/// All tensors with their rules and state, and the compute pass that updates them.
///
/// Build one with [`arena`](Self::arena) or [`borrowed`](Self::borrowed).
///
/// ```no_run
/// use fallline::{AdamW, Gpu, Group, Optimizer, Step, TensorSpec};
///
/// # fn main() -> fallline::Result<()> {
/// let gpu = Gpu::from_env()?;
/// let groups = [Group::new("weights", AdamW::new())];
/// let tensors = [TensorSpec::new("weight", [784, 128])];
/// let mut optimizer = Optimizer::arena(&gpu, &groups, &tensors)?;
/// let weight = optimizer.id("weight").expect("it was just given");
/// optimizer.write_param(weight, &vec![0.01; 784 * 128])?;
/// optimizer.write_grad(weight, &vec![1.0; 784 * 128])?;
/// optimizer.step(&Step::lr(1e-3))?;
/// let trained = optimizer.read_param(weight)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Optimizer {
    pub(crate) gpu: Gpu,
    pub(crate) groups: Vec<Group>,
    pub(crate) infos: Vec<Info>,
    per_step: PerStep,
    pub(crate) ids: HashMap<String, usize>,
    programs: Vec<Program>,
    pub(crate) layout: Layout,
    /// In the order of the layout's segments.
    pub(crate) memory: Vec<SegmentBuffers>,
    vectors: Vectors,
    /// Bound where a kernel has no use for a binding.
    dummy: Buffer,
    pub(crate) rules: RuleSet,
    pub(crate) control: Control,
    lies: Lies,
    pub(crate) reports: Option<Reports>,
    pub(crate) options: Options,
    /// Steps that were recorded, with those before a load.
    pub(crate) steps: u32,
    /// While parameters are those to be evaluated: the way back.
    evaluating: Option<Evaluating>,
    /// Whether they are, on the GPU: the mode as of what was submitted.
    mode_word: Buffer,
}

/// Where parameters and gradients lie, and what a step dispatches for that.
#[derive(Debug)]
enum Lies {
    /// In buffers of the engine's, always.
    Arena { updates: Staged<Dispatch>, rows: Vec<PartDispatch> },
    /// In buffers of the caller's.
    Borrowed(Box<Borrowed>),
}

/// Dispatches of other kernels than a step's over the places of now.
#[derive(Debug)]
enum Dispatches {
    Arena(Staged<Dispatch>),
    Borrowed(Fixed),
}

impl Dispatches {
    /// Records them, with hyperparameters at this offset.
    fn record(&self, pass: &mut ComputePass<'_>, hypers: u32) {
        match self {
            Self::Arena(dispatches) => {
                for dispatch in dispatches.iter() {
                    dispatch.record(pass, &[hypers]);
                }
            }
            Self::Borrowed(fixed) => fixed.record(pass, hypers),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Arena(dispatches) => dispatches.len(),
            Self::Borrowed(fixed) => fixed.len(),
        }
    }
}

impl Lies {
    /// Dispatches over gradients where they lay at first, if they lie there.
    fn rows_of_first_places(&self) -> &[PartDispatch] {
        match self {
            Self::Borrowed(borrowed) if borrowed.has_moved() => &[],
            _ => self.rows(),
        }
    }

    /// Dispatches that measure gradients where they lie now.
    fn rows(&self) -> &[PartDispatch] {
        match self {
            Self::Arena { rows, .. } => rows,
            Self::Borrowed(borrowed) => &borrowed.ready().rows,
        }
    }
}

impl Optimizer {
    /// Records one step into the encoder as one compute pass.
    ///
    /// The step is done when the caller has submitted the encoder. If the encoder is dropped
    /// instead, nothing has happened. Up to 64 steps can be recorded before the first is submitted.
    ///
    /// # Errors
    /// A learning rate that is negative or not finite, another number of them than of groups, a
    /// tensor id beyond the tensors, [`Error::TooManyUnsubmittedSteps`], [`Error::DeviceLost`] or
    /// [`Error::OutOfMemory`]. Nothing is recorded then.
    pub fn encode_step(&mut self, encoder: &mut CommandEncoder, step: &Step<'_>) -> Result<()> {
        let Some(written) = self.prepare(step)? else { return Ok(()) };
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("fallline step"),
            timestamp_writes: None,
        });
        self.record_until_done(&mut pass, written);
        Ok(())
    }

    /// Records one step for tensors that lie elsewhere than before: for a runtime whose gradients lie in
    /// other places in every step, or that has none for some tensors. The optimizer must have been
    /// built with [`borrowed`](Self::borrowed).
    ///
    /// Places hold from this step on, also for [`encode_step`](Self::encode_step); steps that are
    /// recorded already keep those that they were recorded with. What this costs the host depends on the
    /// number of tensors and not on that of their elements; bind groups are kept by the buffers that they
    /// bind, until eight steps have not used them.
    ///
    /// ```text
    /// places.grads[i]: None ⇒ tensor i stays as it is: as with Step::without_grad
    /// ```
    ///
    /// # Errors
    /// As [`encode_step`](Self::encode_step) and [`borrowed`](Self::borrowed);
    /// [`Error::NotBorrowed`], [`Error::PlaceCount`]. Nothing is recorded then.
    pub fn encode_step_at(
        &mut self,
        encoder: &mut CommandEncoder,
        step: &Step<'_>,
        places: &Places<'_>,
    ) -> Result<()> {
        self.place(places)?;
        self.encode_step(encoder, step)
    }

    /// As [`encode_step_at`](Self::encode_step_at), into a compute pass of the caller's.
    ///
    /// # Errors
    /// As [`encode_step_at`](Self::encode_step_at).
    pub fn record_step_at(
        &mut self,
        pass: &mut ComputePass<'_>,
        step: &Step<'_>,
        places: &Places<'_>,
    ) -> Result<()> {
        self.place(places)?;
        self.record_step(pass, step)
    }

    /// Records one step into a compute pass of the caller's: one with timestamps, say, or one that
    /// holds other work too.
    ///
    /// # Errors
    /// As [`encode_step`](Self::encode_step).
    pub fn record_step(&mut self, pass: &mut ComputePass<'_>, step: &Step<'_>) -> Result<()> {
        let Some(written) = self.prepare(step)? else { return Ok(()) };
        self.record_until_done(pass, written);
        Ok(())
    }

    /// Takes parameters and gradients from these places from now on, as a step [at them](Self::encode_step_at) does, and
    /// takes no step.
    ///
    /// For a runtime whose memory of the last step is in use for something else by now: it says so before it
    /// [adds](Self::add_borrowed) tensors, which may lie there. A gradient that is `None` then lies nowhere.
    ///
    /// # Errors
    /// As [`encode_step_at`](Self::encode_step_at).
    pub fn place(&mut self, places: &Places<'_>) -> Result<()> {
        self.needs_trained("taking parameters from other places")?;
        let Self { gpu, infos, programs, layout, memory, dummy, control, lies, .. } = self;
        let Lies::Borrowed(borrowed) = lies else { return Err(Error::NotBorrowed) };
        let expected = infos.len();
        for (role, found) in [
            (Role::Param, places.params.map_or(expected, <[BufferRange]>::len)),
            (Role::Grad, places.grads.len()),
        ] {
            if found != expected {
                return Err(Error::PlaceCount { role, expected, found });
            }
        }
        let param = |index: usize| match places.params {
            Some(params) => &params[index],
            None => &borrowed.places[index].param,
        };
        let unmoved = borrowed.places.iter().zip(places.grads).enumerate();
        let mut unmoved = unmoved.map(|(index, (placed, grad))| {
            let same_param = places.params.is_none() || placed.param == *param(index);
            infos[index].gone || placed.grad == *grad && same_param
        });
        if unmoved.all(|unmoved| unmoved) {
            return Ok(());
        }
        let placed = |(index, grad): (usize, &Option<BufferRange>)| match infos[index].gone {
            true => borrowed.places[index].clone(),
            false => Placed { param: param(index).clone(), grad: grad.clone() },
        };
        let placed = places.grads.iter().enumerate().map(placed).collect();
        let (records, hypers) = (control.records.clone(), control.inputs.buffer().clone());
        let (sums, vectors) = control.reduce.for_elements();
        let (sums, vectors) = (sums.cloned(), vectors.cloned());
        let (records, hypers, sums) = (&records, &hypers, sums.as_ref());
        let vectors = vectors.as_ref();
        let update_inputs =
            UpdateInputs { gpu, programs, layout, memory, records, hypers, sums, vectors, dummy };
        borrowed.place(update_inputs, infos, control, placed)
    }

    /// What the GPU needs to know of a step, which fills this entry of those for reports if it is not 0.
    fn input(&self, step: &Step<'_>, monitored: u32) -> Result<Input> {
        let mut input = step.input(&self.groups, self.per_step.groups.iter().copied())?;
        input.head.monitored = monitored;
        input.head.decides = u32::from(self.always_measures() || monitored != 0);
        input.absent.extend(&self.per_step.absent);
        Ok(input)
    }

    /// Checks a step and writes its input; `None` if there is nothing to do.
    fn prepare(&mut self, step: &Step<'_>) -> Result<Option<Written>> {
        self.needs_trained("a step")?;
        let number = self.steps.wrapping_add(1);
        let mut input = self.input(step, self.entry_of(number))?;
        input.head.reported = self.reports.as_ref().map_or(0, Reports::delivered);
        if let Lies::Borrowed(borrowed) = &self.lies {
            if input.head.zero_grads != 0
                && let Some((tensor, other)) = borrowed.shared_grads().cloned()
            {
                return Err(Error::SharedGrad { tensor, other });
            }
            let places = borrowed.places.iter().enumerate();
            input.absent.extend(places.filter(|(_, p)| p.grad.is_none()).map(|(index, _)| index));
        }
        if !self.has_work() {
            return Ok(None);
        }
        if input.head.zero_grads != 0 {
            self.let_zero_grads()?;
        }
        let Self { gpu, control, lies, .. } = self;
        let written = match lies {
            Lies::Arena { .. } => control.inputs.write(gpu, &input, &control.constants, &[])?,
            Lies::Borrowed(borrowed) => borrowed.write(gpu, control, &input)?,
        };
        self.steps = number;
        Ok(Some(written))
    }

    /// The entry that the step of this number fills, counted from 1, if it is monitored; else 0.
    fn entry_of(&self, number: u32) -> u32 {
        let entries = self.control.measure().and_then(|measure| measure.entries);
        match (self.options.monitor, entries) {
            (Some(Monitor { interval, .. }), Some(entries)) if number.is_multiple_of(interval) => {
                number / interval % entries.len + 1
            }
            _ => 0,
        }
    }

    /// Whether every step measures gradients.
    fn always_measures(&self) -> bool {
        self.control.measure().is_some_and(|measure| measure.always)
    }

    /// Records a step whose input lies here, and gives back its place in the ring.
    fn record(&self, pass: &mut dyn Pass, written: Written) -> Entry {
        self.control.record_measure(pass, &written, self.lies.rows());
        self.control.record_decide(pass, &written, self.lies.rows(), false);
        self.record_update(pass, written)
    }

    /// Records the update, behind everything that comes before it.
    fn record_update(&self, pass: &mut dyn Pass, written: Written) -> Entry {
        match &self.lies {
            Lies::Arena { updates, .. } => {
                for dispatch in &updates.reduces {
                    dispatch.record(pass, &[written.hypers]);
                }
                self.control.record_finish(pass, &written);
                for dispatch in updates.updates(written.is_monitored) {
                    dispatch.record(pass, &[written.hypers]);
                }
            }
            Lies::Borrowed(borrowed) => borrowed.ready().record(pass, &self.control, &written),
        }
        self.control.record_monitoring(pass, &written);
        written.entry
    }

    /// The place in the ring is free again when the GPU is done with the step, or its encoder is dropped.
    fn record_until_done(&self, pass: &mut ComputePass<'_>, written: Written) {
        let entry = self.record(pass, written);
        pass.on_submitted_work_done(move || drop(entry));
    }

    /// Records a step into an encoder of its own and submits it; does not wait.
    ///
    /// # Errors
    /// As [`encode_step`](Self::encode_step); also [`Error::DeviceLost`], [`Error::OutOfMemory`] and
    /// [`Error::Gpu`] from the submission. The step is not done then.
    pub fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let Some(written) = self.prepare(step)? else { return Ok(()) };
        let gpu = &self.gpu;
        gpu.checked("step", || {
            let label = Some("fallline step");
            let mut encoder =
                gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            let descriptor = wgpu::ComputePassDescriptor { label, timestamp_writes: None };
            let entry = self.record(&mut encoder.begin_compute_pass(&descriptor), written);
            gpu.queue().submit([encoder.finish()]);
            // What is written to the ring from now on comes behind this step.
            drop(entry);
        })?;
        gpu.check_lost()
    }

    /// The device that the optimizer lives on.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The groups, in the order in which they were given.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The tensors, in the order in which they were given.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (TensorId, &TensorSpec)> {
        let tensors = self.infos.iter().enumerate().filter(|(_, info)| !info.gone);
        let tensors = tensors.map(|(index, info)| (TensorId(index), &info.spec));
        tensors.collect::<Vec<_>>().into_iter()
    }

    /// The tensor of this name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<TensorId> {
        self.ids.get(name).copied().map(TensorId)
    }

    /// The group of a tensor.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn group_of(&self, id: TensorId) -> Result<&Group> {
        Ok(&self.groups[self.info(id)?.group])
    }

    /// What a tensor keeps: its rule's slots, then those of what comes after the rule's updates.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn slots(&self, id: TensorId) -> Result<&[Slot]> {
        Ok(&self.info(id)?.slots)
    }

    /// How many dispatches a step records that is not monitored, for tensors where they lie now.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        if !self.has_work() {
            return 0;
        }
        let updates = match &self.lies {
            Lies::Arena { updates, .. } => updates.len(),
            Lies::Borrowed(borrowed) => borrowed.ready().len(),
        };
        // Rows are added up, and something is decided.
        let decides = 2 * usize::from(self.always_measures());
        let rows = self.lies.rows().iter();
        let rows = rows.filter(|rows| self.always_measures() || is_margins(rows)).count();
        self.control.rule_dispatches() + rows + decides + updates
    }

    /// How many bind groups and buffers of the caller's are kept for steps over borrowed buffers.
    #[must_use]
    pub fn kept_for_places(&self) -> (usize, usize) {
        match &self.lies {
            Lies::Arena { .. } => (0, 0),
            Lies::Borrowed(borrowed) => borrowed.kept(),
        }
    }

    /// The indices of tensors that were taken out.
    fn gone(&self) -> impl Iterator<Item = usize> {
        let gone = self.infos.iter().enumerate().filter(|(_, info)| info.gone);
        gone.map(|(index, _)| index)
    }

    /// Without tensors there may still be a loss scale to update, for others that share it.
    fn has_work(&self) -> bool {
        !self.infos.is_empty() || self.always_measures()
    }

    /// Bytes of optimizer state in GPU memory, padding included: state slots, master copies,
    /// remainders.
    #[must_use]
    pub fn state_size_bytes(&self) -> u64 {
        let of_segment = |segment: &SegmentBuffers| -> u64 {
            let state = segment.state.iter().map(|(buffer, _)| buffer);
            state.chain(&segment.master).map(Buffer::size).sum()
        };
        self.memory.iter().map(of_segment).sum::<u64>() + self.vectors.size_bytes()
    }

    fn update_inputs(&self) -> UpdateInputs<'_> {
        let Self { gpu, programs, layout, memory, control, dummy, .. } = self;
        let (records, hypers) = (&control.records, control.inputs.buffer());
        let (sums, vectors) = control.reduce.for_elements();
        UpdateInputs { gpu, programs, layout, memory, records, hypers, sums, vectors, dummy }
    }

    fn info(&self, id: TensorId) -> Result<&Info> {
        let len = self.infos.len();
        let info = self.infos.get(id.0).filter(|info| !info.gone);
        info.ok_or(Error::UnknownTensor { index: id.0, len })
    }
}
