//! The public type: groups, tensors, and a step for all of them.

mod accumulate;
mod build;
mod parts;
mod places;
mod reports;
mod step;
mod traffic;
mod values;

use std::collections::HashMap;

use wgpu::{Buffer, CommandEncoder, ComputePass};

pub use accumulate::{Accumulator, MicroGrad};
pub use step::Step;
pub use traffic::Traffic;

use crate::{
    BorrowedTensor, Error, Gpu, Group, Result, StateFormat, TensorId, TensorSpec,
    control::{Control, Written},
    kernel::Program,
    layout::Layout,
    plan::{Plan, SegmentBuffers, Site},
    report::Reports,
};

/// All tensors with their rules and state, and the compute pass that updates them.
///
/// Build one with [`arena`](Self::arena) or [`borrowed`](Self::borrowed).
#[derive(Debug)]
pub struct Optimizer {
    gpu: Gpu,
    groups: Vec<Group>,
    infos: Vec<Info>,
    ids: HashMap<String, usize>,
    programs: Vec<Program>,
    layout: Layout,
    memory: Memory,
    control: Control,
    plan: Plan,
    reports: Option<Reports>,
    /// Two tensors whose gradients share bytes, if there are any.
    shared_grads: Option<(String, String)>,
}

/// A tensor, checked.
#[derive(Debug)]
struct Info {
    spec: TensorSpec,
    group: usize,
    state: StateFormat,
    len_elems: u64,
}

#[derive(Debug)]
struct Memory {
    /// In the order of the layout's segments.
    segments: Vec<SegmentBuffers>,
    borrowed: Option<Vec<BorrowedTensor>>,
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
        self.control.record(&mut pass, written);
        self.plan.record(&mut pass);
        Ok(())
    }

    /// Records one step into a compute pass of the caller's: one with timestamps, say, or one that
    /// holds other work too.
    ///
    /// # Errors
    /// As [`encode_step`](Self::encode_step).
    pub fn record_step(&mut self, pass: &mut ComputePass<'_>, step: &Step<'_>) -> Result<()> {
        let Some(written) = self.prepare(step)? else { return Ok(()) };
        self.control.record(pass, written);
        self.plan.record(pass);
        Ok(())
    }

    /// Checks a step and writes its input; `None` if there is nothing to do.
    fn prepare(&self, step: &Step<'_>) -> Result<Option<Written>> {
        let input = step.input(&self.groups, self.infos.len())?;
        if input.head.zero_grads != 0
            && let Some((tensor, other)) = self.shared_grads.clone()
        {
            return Err(Error::SharedGrad { tensor, other });
        }
        if !self.has_work() {
            return Ok(None);
        }
        self.control.prepare(&self.gpu, &input).map(Some)
    }

    /// Records a step into an encoder of its own and submits it; does not wait.
    ///
    /// # Errors
    /// As [`encode_step`](Self::encode_step); also [`Error::DeviceLost`], [`Error::OutOfMemory`] and
    /// [`Error::Gpu`] from the submission. The step is not done then.
    pub fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let gpu = self.gpu.clone();
        gpu.checked("step", || {
            let mut encoder =
                gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("fallline step"),
                });
            self.encode_step(&mut encoder, step)?;
            gpu.queue().submit([encoder.finish()]);
            Ok(())
        })??;
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
        self.infos.iter().enumerate().map(|(index, info)| (TensorId(index), &info.spec))
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

    /// How many dispatches a step records.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        if self.has_work() { self.control.dispatches() + self.plan.len() } else { 0 }
    }

    /// Without tensors there may still be a loss scale to update, for others that share it.
    fn has_work(&self) -> bool {
        !self.infos.is_empty() || self.control.measure().is_some()
    }

    /// Bytes of optimizer state in GPU memory, padding included: state slots, master copies,
    /// remainders.
    #[must_use]
    pub fn state_size_bytes(&self) -> u64 {
        let of_segment = |segment: &SegmentBuffers| -> u64 {
            let state = segment.state.iter().map(|(buffer, _)| buffer);
            state.chain(&segment.master).map(Buffer::size).sum()
        };
        self.memory.segments.iter().map(of_segment).sum()
    }

    fn site(&self) -> Site<'_> {
        let Self { gpu, programs, layout, memory, control, .. } = self;
        Site { gpu, programs, layout, memory: &memory.segments, records: &control.records }
    }

    fn info(&self, id: TensorId) -> Result<&Info> {
        let len = self.infos.len();
        self.infos.get(id.0).ok_or(Error::UnknownTensor { index: id.0, len })
    }
}
