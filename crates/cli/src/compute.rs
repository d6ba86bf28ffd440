//! Kernels of the commands' own that go through whole buffers, and the buffers that kernels work on.

use std::sync::mpsc;

use anyhow::{Context, Result};
use fallline::{
    ComputeDispatch, ComputeKernel, Gpu,
    wgpu::{self, BindingResource, BindingType, Buffer, BufferBinding, BufferSize, BufferUsages},
};

/// Bytes of a vec4 of f32.
pub(crate) const VEC4_BYTES: u64 = 16;

/// A kernel that gives each lane one vec4 of a range, whatever grids the device can have.
#[derive(Debug)]
pub(crate) struct Vec4Kernel {
    kernel: ComputeKernel,
    gpu: Gpu,
}

impl Vec4Kernel {
    /// Compiles a kernel, named by label and WGSL, with the overrides WORKGROUP_SIZE, ROW_WORKGROUPS and
    /// these.
    pub(crate) fn new(
        gpu: &Gpu,
        (label, wgsl): (&str, &str),
        overrides: &[(&str, f64)],
        bindings: &[BindingType],
    ) -> Result<Self> {
        let mut overrides = overrides.to_vec();
        overrides.push(("WORKGROUP_SIZE", gpu.workgroup_size().into()));
        overrides.push(("ROW_WORKGROUPS", gpu.row_workgroups().into()));
        let kernel = ComputeKernel::new(gpu, label, wgsl, &overrides, bindings)?;
        Ok(Self { kernel, gpu: gpu.clone() })
    }

    /// As [`ComputeKernel::bind`], with a grid for so many bytes.
    pub(crate) fn bind(
        &self,
        resources: &[BindingResource<'_>],
        size_bytes: u64,
    ) -> Result<ComputeDispatch> {
        let lanes = size_bytes.div_ceil(VEC4_BYTES);
        let workgroups = lanes.div_ceil(self.gpu.workgroup_size().into());
        Ok(self.kernel.bind(resources, self.gpu.fold(workgroups))?)
    }
}

/// A buffer of zeros, never empty: nothing empty can be bound. Call it inside of [`Gpu::checked`].
pub(crate) fn buffer(gpu: &Gpu, label: &str, size: u64, usage: BufferUsages) -> Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: size.max(VEC4_BYTES),
        usage,
        mapped_at_creation: false,
    })
}

/// A range of a buffer as a binding.
pub(crate) fn part(buffer: &Buffer, offset: u64, size: u64) -> BindingResource<'_> {
    BindingResource::Buffer(BufferBinding { buffer, offset, size: BufferSize::new(size) })
}

/// Waits for what was submitted, and reads what it left in a buffer that can be mapped.
pub(crate) fn read<T: bytemuck::Pod>(gpu: &Gpu, staging: &Buffer) -> Result<Vec<T>> {
    let (sender, mapped) = mpsc::channel();
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        // The receiver is gone only if waiting has failed already.
        drop(sender.send(result));
    });
    gpu.wait()?;
    mapped.try_recv().context("the GPU never gave back a buffer")??;
    let values = bytemuck::pod_collect_to_vec(&staging.slice(..).get_mapped_range()?[..]);
    staging.unmap();
    Ok(values)
}
