//! Kernels of the commands' own: compiled, bound and recorded; and the buffers that they work on.

use std::sync::mpsc;

use anyhow::{Context, Result};
use fallline::{
    Gpu,
    wgpu::{
        self, BindGroup, BindGroupLayout, BindingResource, BindingType, Buffer, BufferBinding,
        BufferBindingType, BufferSize, BufferUsages, ComputePass, ComputePipeline,
    },
};

/// Bytes of a vec4 of f32.
pub(crate) const VEC4_BYTES: u64 = 16;

pub(crate) const READ: BindingType = binding(BufferBindingType::Storage { read_only: true }, false);
pub(crate) const WRITE: BindingType =
    binding(BufferBindingType::Storage { read_only: false }, false);
pub(crate) const UNIFORM: BindingType = binding(BufferBindingType::Uniform, false);
/// A uniform whose place in its buffer is said when the kernel is recorded.
pub(crate) const UNIFORM_AT: BindingType = binding(BufferBindingType::Uniform, true);

const fn binding(ty: BufferBindingType, has_dynamic_offset: bool) -> BindingType {
    BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None }
}

/// A compiled kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    label: String,
    pipeline: ComputePipeline,
    layout: BindGroupLayout,
}

/// A kernel with its bind group and the size of its grid, ready to be recorded.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pipeline: ComputePipeline,
    bind_group: BindGroup,
    workgroups: (u32, u32),
}

impl Kernel {
    /// Compiles a kernel, named by label and WGSL, with these overrides.
    pub(crate) fn new(
        gpu: &Gpu,
        (label, wgsl): (&str, &str),
        overrides: &[(&str, f64)],
        bindings: &[BindingType],
    ) -> Result<Self> {
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0u32..)
            .zip(bindings)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: *ty,
                count: None,
            })
            .collect();
        let device = gpu.device();
        Ok(gpu.checked(label, || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(wgsl.into()),
            });
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(label),
                entries: &entries,
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: overrides,
                    ..Default::default()
                },
                cache: None,
            });
            Self { label: label.to_owned(), pipeline, layout }
        })?)
    }

    /// Binds these resources as 0, 1, 2, … for a grid of so many workgroups. Call it inside of
    /// [`Gpu::checked`].
    pub(crate) fn bind(
        &self,
        gpu: &Gpu,
        resources: &[BindingResource<'_>],
        workgroups: (u32, u32),
    ) -> Dispatch {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
            .collect();
        let bind_group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&self.label),
            layout: &self.layout,
            entries: &entries,
        });
        Dispatch { pipeline: self.pipeline.clone(), bind_group, workgroups }
    }
}

impl Dispatch {
    /// Records the kernel, with an offset for each [`UNIFORM_AT`] that it has.
    pub(crate) fn record_at(&self, pass: &mut ComputePass<'_>, offsets: &[u32]) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, offsets);
        pass.dispatch_workgroups(self.workgroups.0, self.workgroups.1, 1);
    }

    /// Records a kernel without a [`UNIFORM_AT`].
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>) {
        self.record_at(pass, &[]);
    }
}

/// A kernel that gives each lane one vec4 of a range, whatever grids the device can have.
#[derive(Debug)]
pub(crate) struct Vec4Kernel {
    kernel: Kernel,
    workgroup_size: u32,
    row_workgroups: u32,
}

impl Vec4Kernel {
    /// Compiles a kernel with the overrides WORKGROUP_SIZE, ROW_WORKGROUPS and these.
    pub(crate) fn new(
        gpu: &Gpu,
        source: (&str, &str),
        overrides: &[(&str, f64)],
        bindings: &[BindingType],
    ) -> Result<Self> {
        let limits = gpu.limits();
        let most = limits.max_compute_invocations_per_workgroup;
        let workgroup_size = most.min(limits.max_compute_workgroup_size_x).min(256);
        let row_workgroups = limits.max_compute_workgroups_per_dimension.clamp(1, 32768);
        let mut overrides = overrides.to_vec();
        overrides.push(("WORKGROUP_SIZE", workgroup_size.into()));
        overrides.push(("ROW_WORKGROUPS", row_workgroups.into()));
        let kernel = Kernel::new(gpu, source, &overrides, bindings)?;
        Ok(Self { kernel, workgroup_size, row_workgroups })
    }

    /// As [`Kernel::bind`], with a grid for so many bytes.
    pub(crate) fn bind(
        &self,
        gpu: &Gpu,
        resources: &[BindingResource<'_>],
        size_bytes: u64,
    ) -> Dispatch {
        let row = u64::from(self.row_workgroups);
        let workgroups = size_bytes.div_ceil(VEC4_BYTES).div_ceil(self.workgroup_size.into());
        let fit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let grid = (fit(workgroups.min(row)), fit(workgroups.div_ceil(row)));
        self.kernel.bind(gpu, resources, grid)
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
