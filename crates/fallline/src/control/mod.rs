//! What happens before the update in every step: each tensor's step is counted on the GPU, and the
//! record that the update reads is written.

mod inputs;

use inputs::{Lease, StepInputs};

use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

use crate::{
    Gpu, Group, Result,
    abi::{self, Placement},
    kernel::{self, Kernel, MAX_UNIFORM_TENSORS, TensorsIn},
    rules::{Definition, narrow},
};

/// The GPU buffers and the kernel that advance the step counters.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    inputs: StepInputs,
    groups: Buffer,
    /// Step counter of each tensor.
    pub(crate) steps: Buffer,
    /// Record of each tensor, for the update.
    pub(crate) tensors: Buffer,
    pub(crate) tensors_in: TensorsIn,
    kernel: Kernel,
    bind_group: BindGroup,
    workgroups: (u32, u32),
}

/// What a step brings, written and ready to be recorded.
#[derive(Debug)]
pub(crate) struct Prepared {
    offsets: [u32; 2],
    lease: Lease,
}

impl Control {
    pub(crate) fn new(
        gpu: &Gpu,
        groups: &[Group],
        hypers: &[u32],
        placements: &[Placement],
    ) -> Result<Self> {
        let storage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let len = placements.len().max(1) as u64;
        let tensors_in = TensorsIn::for_len(placements.len(), gpu.limits());
        let (records, usage) = match tensors_in {
            TensorsIn::Uniform => {
                (MAX_UNIFORM_TENSORS as u64, BufferUsages::STORAGE | BufferUsages::UNIFORM)
            }
            TensorsIn::Storage => (len, BufferUsages::STORAGE),
        };
        let tensors =
            gpu.buffer("fallline tensors", records * size_of::<abi::Tensor>() as u64, usage)?;
        let steps = gpu.buffer("fallline steps", len * 4, storage | BufferUsages::COPY_SRC)?;
        let records: Vec<abi::Group> =
            groups.iter().zip(hypers).map(|(g, h)| group_record(g.rule.definition(), *h)).collect();
        let group_buffer = gpu.buffer("fallline groups", size_of_val(&*records) as u64, storage)?;
        gpu.write("fallline groups", &group_buffer, 0, &records)?;

        let inputs = StepInputs::new(gpu, groups.len(), placements.len())?;
        let kernel = kernel::advance(gpu)?;
        let shared = [&group_buffer, &steps, &tensors];
        let bind_group = bind_advance(gpu, &kernel, &inputs, shared, placements)?;
        let workgroups = kernel::fold(placements.len().div_ceil(64) as u64, gpu.limits());
        let groups = group_buffer;
        Ok(Self { inputs, groups, steps, tensors, tensors_in, kernel, bind_group, workgroups })
    }

    /// The same counters and records for tensors that lie elsewhere. Steps that are recorded already
    /// keep the old places.
    pub(crate) fn rebound(&self, gpu: &Gpu, placements: &[Placement]) -> Result<Self> {
        let shared = [&self.groups, &self.steps, &self.tensors];
        let bind_group = bind_advance(gpu, &self.kernel, &self.inputs, shared, placements)?;
        Ok(Self { bind_group, ..self.clone() })
    }

    /// Writes the learning rate and decay of each group, and which tensors have no gradient in this
    /// step.
    pub(crate) fn prepare(
        &self,
        gpu: &Gpu,
        group_steps: &[abi::GroupStep],
        absent: &[usize],
    ) -> Result<Prepared> {
        let (offsets, lease) = self.inputs.write(gpu, group_steps, absent)?;
        Ok(Prepared { offsets, lease })
    }

    /// Records the dispatch.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>, prepared: Prepared) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, &prepared.offsets);
        pass.dispatch_workgroups(self.workgroups.0, self.workgroups.1, 1);
        // The slot is free again when the GPU is done with the step, or its encoder is dropped.
        pass.on_submitted_work_done(move || drop(prepared.lease));
    }
}

/// The bind group of `control/advance.wgsl`, with placements of its own.
fn bind_advance(
    gpu: &Gpu,
    kernel: &Kernel,
    inputs: &StepInputs,
    [groups, steps, tensors]: [&Buffer; 3],
    placements: &[Placement],
) -> Result<BindGroup> {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
    let placed = gpu.buffer("fallline placements", size_of_val(placements) as u64, usage)?;
    gpu.write("fallline placements", &placed, 0, placements)?;
    let (rates, absent) = inputs.bindings();
    let buffers = [groups, &placed, steps, tensors].map(Buffer::as_entire_binding);
    let bound: Vec<_> = [rates, absent].into_iter().chain(buffers).collect();
    bind(gpu, "fallline advance", kernel, &bound)
}

/// A bind group of these resources as bindings 0, 1, 2, …
pub(crate) fn bind(
    gpu: &Gpu,
    label: &str,
    kernel: &Kernel,
    resources: &[wgpu::BindingResource<'_>],
) -> Result<BindGroup> {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
        .collect();
    gpu.checked(label, || {
        gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &kernel.layout,
            entries: &entries,
        })
    })
}

/// ln β for the kernel; a β of 0 (also: no bias correction) is far below any that matters.
fn ln_beta(beta: f64) -> f32 {
    narrow(beta.ln().max(-10_000.0))
}

fn group_record(rule: &dyn Definition, hyper: u32) -> abi::Group {
    let (beta1, beta2) = rule.bias_correction_betas();
    abi::Group {
        ln_beta1: ln_beta(beta1),
        ln_beta2: ln_beta(beta2),
        grad_scale: if rule.maximize() { -1.0 } else { 1.0 },
        hyper,
    }
}
