//! Passes over tensors outside of a step: no step is counted, and nothing is measured or decided.

use wgpu::{CommandEncoder, ComputePass};

use super::{Lies, Optimizer};
use crate::{
    Gpu, Result,
    abi::StepInput,
    compile,
    control::{Input, Written},
    dispatch::{Dispatch, PartDispatch},
    kernel::{Kernel, KernelKey, Recipe, Stage, Update},
};

/// Such a pass, ready to be recorded.
#[derive(Debug)]
pub(super) struct Aside {
    written: Written,
    enlist: Dispatch,
    over: Over,
}

#[derive(Debug)]
enum Over {
    Arena(Vec<Dispatch>),
    Borrowed { expand: Option<Dispatch>, parts: Vec<PartDispatch> },
}

/// What a pass does, and with which tensors.
pub(super) struct Task<'a> {
    pub(super) stage: Stage,
    /// Whether a rule has that stage.
    pub(super) has: fn(&KernelKey) -> bool,
    /// Multiplies what lies where gradients do.
    pub(super) factor: f32,
    /// Tensors without part in it, and those with fewer steps than this.
    pub(super) absent: &'a [usize],
    pub(super) from_step: u32,
}

impl Optimizer {
    /// Makes a pass over tensors where they lie now: the dispatches of their updates, each with another kernel. `None`
    /// if there are no tensors.
    pub(super) fn aside(&mut self, task: &Task<'_>) -> Result<Option<Aside>> {
        if self.infos.is_empty() {
            return Ok(None);
        }
        let head = StepInput { grad_factor: task.factor, ..bytemuck::Zeroable::zeroed() };
        let mut absent = task.absent.to_vec();
        absent.extend(self.gone());
        let input = Input { head, rates: Vec::new(), absent };
        let Self { gpu, control, lies, .. } = self;
        let enlist = control.enlist(gpu, task.from_step)?;
        let kernel = |kernel: &Kernel| match &*kernel.recipe {
            Recipe::Update(update) if (task.has)(&update.key) => {
                let update = Update { stage: task.stage, ..update.clone() };
                compile::kernel(gpu, Recipe::Update(update)).map(Some)
            }
            _ => Ok(None),
        };
        let other = |dispatch: &Dispatch| {
            let kernel = kernel(&dispatch.kernel)?;
            Ok(kernel.map(|kernel| Dispatch { kernel, ..dispatch.clone() }))
        };
        let (over, written) = match lies {
            Lies::Arena { updates, .. } => {
                let all: Result<Vec<_>> = updates.updates.iter().map(other).collect();
                let written = control.inputs.write(gpu, &input, &control.constants, &[])?;
                (Over::Arena(all?.into_iter().flatten().collect()), written)
            }
            Lies::Borrowed(borrowed) => {
                let mut parts = Vec::new();
                for PartDispatch { dispatch, offset } in &borrowed.ready().updates.updates {
                    let part = |dispatch| PartDispatch { dispatch, offset: *offset };
                    parts.extend(other(dispatch)?.map(part));
                }
                let expand = borrowed.ready().expand.clone();
                let written = borrowed.write(gpu, control, &input)?;
                (Over::Borrowed { expand, parts }, written)
            }
        };
        Ok(Some(Aside { written, enlist, over }))
    }
}

impl Aside {
    /// Records it as a compute pass of its own.
    pub(super) fn encode(self, encoder: &mut CommandEncoder, label: &str) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: None };
        self.record(&mut encoder.begin_compute_pass(&descriptor));
    }

    /// Records it into an encoder of its own and submits that.
    pub(super) fn submit(self, gpu: &Gpu, label: &'static str) -> Result<()> {
        gpu.checked(label, || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some(label) };
            let mut encoder = gpu.device().create_command_encoder(&descriptor);
            self.encode(&mut encoder, label);
            gpu.queue().submit([encoder.finish()]);
        })?;
        gpu.check_lost()
    }

    /// Its place in the ring is free again when the GPU is done with it, or its encoder is dropped.
    pub(super) fn record(self, pass: &mut ComputePass<'_>) {
        let Self { written, enlist, over } = self;
        enlist.record(pass, &[written.input, written.absent, written.groups]);
        match over {
            Over::Arena(dispatches) => {
                for dispatch in dispatches {
                    dispatch.record(pass, &[written.hypers]);
                }
            }
            Over::Borrowed { expand, parts } => {
                if let Some(expand) = expand {
                    expand.record(pass, &[written.places]);
                }
                for PartDispatch { dispatch, offset } in parts {
                    dispatch.record(pass, &[offset, written.hypers, written.places]);
                }
            }
        }
        let entry = written.entry;
        pass.on_submitted_work_done(move || drop(entry));
    }
}
