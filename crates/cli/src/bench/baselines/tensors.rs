//! Parameters, gradients and state as a runtime keeps them: a buffer for each tensor and role.

use anyhow::Result;
use fallline::{
    Dtype, Gpu, TensorSpec,
    wgpu::{BindingResource, Buffer, BufferUsages},
};

use crate::{bench::subject, compute};

/// The buffers of all tensors, cut into windows that fit a binding.
#[derive(Debug)]
pub(crate) struct Tensors {
    /// For each tensor: parameter, gradient, state slots.
    pub(crate) buffers: Vec<Vec<Buffer>>,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    tensor: usize,
    offset: u64,
    size: u64,
}

impl Tensors {
    /// Buffers of zeros for these tensors with so many state slots.
    pub(crate) fn new(gpu: &Gpu, specs: &[TensorSpec], slots: usize) -> Result<Self> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let most = gpu.limits().max_storage_buffer_binding_size / 256 * 256;
        let mut windows = Vec::new();
        let mut sizes = Vec::with_capacity(specs.len());
        for (tensor, spec) in specs.iter().enumerate() {
            let size_bytes = (spec.len_elems()? * 4).next_multiple_of(compute::VEC4_BYTES);
            let mut offset = 0;
            while offset < size_bytes {
                let size = most.min(size_bytes - offset);
                windows.push(Window { tensor, offset, size });
                offset += size;
            }
            sizes.push(size_bytes);
        }
        let create = |size: &u64| {
            (0..2 + slots).map(|_| compute::buffer(gpu, "baseline tensor", *size, usage)).collect()
        };
        let buffers = gpu.checked("the baselines' tensors", || {
            sizes.iter().map(create).collect::<Vec<Vec<Buffer>>>()
        })?;
        Ok(Self { buffers, windows })
    }

    /// Gives parameters and gradients the numbers that the optimizer's have.
    pub(crate) fn fill(&self, gpu: &Gpu, specs: &[TensorSpec]) -> Result<()> {
        for (buffers, spec) in self.buffers.iter().zip(specs) {
            let size = spec.len_elems()? * 4;
            subject::fill(gpu, buffers[0].slice(..size), Dtype::F32)?;
            subject::fill(gpu, buffers[1].slice(..size), Dtype::F32)?;
        }
        Ok(())
    }

    /// The windows: a binding for each role, and the bytes of each binding.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (Vec<BindingResource<'_>>, u64)> {
        self.windows.iter().map(|window| {
            let bind = |buffer| compute::part(buffer, window.offset, window.size);
            (self.buffers[window.tensor].iter().map(bind).collect(), window.size)
        })
    }

    /// Bytes of the largest window.
    pub(crate) fn largest_window(&self) -> u64 {
        self.windows.iter().map(|window| window.size).max().unwrap_or(0)
    }
}
