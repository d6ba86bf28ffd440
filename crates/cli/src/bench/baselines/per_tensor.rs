//! One fused kernel, but a bind group and a dispatch for each tensor.

use anyhow::Result;
use fallline::{
    ComputeDispatch, ComputeKernel, Gpu,
    wgpu::{Buffer, BufferUsages, ComputePass},
};

use super::{Known, Scalars, Tensors};
use crate::compute::{self, VEC4_BYTES, Vec4Kernel};

#[derive(Debug)]
pub(crate) struct PerTensor {
    scalars: Buffer,
    dispatches: Vec<ComputeDispatch>,
}

impl PerTensor {
    pub(crate) fn new(gpu: &Gpu, known: Known, tensors: &Tensors) -> Result<Self> {
        let rule = match known {
            Known::AdamW => 0.0,
            Known::Sgd => 1.0,
            Known::Lion => 2.0,
        };
        let source = ("per-tensor baseline", include_str!("../shaders/per_tensor.wgsl"));
        let (uniform, write) = (ComputeKernel::UNIFORM, ComputeKernel::WRITE);
        let bindings = [uniform, ComputeKernel::READ, write, write, write];
        let kernel = Vec4Kernel::new(gpu, source, &[("RULE", rule)], &bindings)?;
        gpu.checked("the per-tensor baseline", || {
            let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
            let scalars_size = (size_of::<Scalars>() as u64).next_multiple_of(VEC4_BYTES);
            let scalars = compute::buffer(gpu, "per-tensor scalars", scalars_size, usage);
            // Bound as the second state slot of a rule that has none.
            let dummy = compute::buffer(gpu, "per-tensor dummy", 16, BufferUsages::STORAGE);
            let mut dispatches = Vec::new();
            for (roles, size) in tensors.windows() {
                let mut bound =
                    vec![scalars.as_entire_binding(), roles[1].clone(), roles[0].clone()];
                bound.extend_from_slice(&roles[2..]);
                bound.resize(5, dummy.as_entire_binding());
                dispatches.push(kernel.bind(&bound, size)?);
            }
            Ok(Self { scalars, dispatches })
        })?
    }

    /// Gives the constants of the next step; takes effect with the next submission.
    pub(crate) fn write(&self, gpu: &Gpu, scalars: &Scalars) {
        gpu.queue().write_buffer(&self.scalars, 0, bytemuck::bytes_of(scalars));
    }

    pub(crate) fn record(&self, pass: &mut ComputePass<'_>) {
        self.dispatches.iter().for_each(|dispatch| dispatch.record(pass, &[]));
    }
}
