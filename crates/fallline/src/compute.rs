//! Kernels beside the step, a runtime's own: compiled, bound and recorded, with errors as values.

use wgpu::{
    BindGroup, BindGroupLayout, BindingResource, BindingType, BufferBindingType, ComputePass,
    ComputePipeline,
};

use crate::{Gpu, Result, kernel};

/// A compute kernel of the caller's: one that writes gradients where the [`Optimizer`](crate::Optimizer) has
/// them, say, or a loss that reads the buffer of a [`LossScaler`](crate::LossScaler). Cheap to clone.
///
/// ```no_run
/// use fallline::{AdamW, ComputeKernel, Gpu, Group, Optimizer, Step, TensorSpec};
///
/// const GRADIENT: &str = "
///     @group(0) @binding(0) var<storage, read> p: array<f32>;
///     @group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
///     @compute @workgroup_size(64)
///     fn main(@builtin(global_invocation_id) id: vec3<u32>) {
///         if (id.x < arrayLength(&p)) { gradient[id.x] = 2.0 * p[id.x]; }
///     }";
///
/// # fn main() -> fallline::Result<()> {
/// let gpu = Gpu::from_env()?;
/// let groups = [Group::new("all", AdamW::new())];
/// let mut optimizer = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("p", [1000])])?;
/// let p = optimizer.id("p").expect("it was just given");
/// let bindings = [ComputeKernel::READ, ComputeKernel::WRITE];
/// let kernel = ComputeKernel::new(&gpu, "gradient", GRADIENT, &[], &bindings)?;
/// let bound = [optimizer.param(p)?, optimizer.grad(p)?];
/// let bound = bound.map(|slice| slice.try_into().expect("it is not empty"));
/// let gradient = kernel.bind(&bound, [1000u32.div_ceil(64), 1, 1])?;
///
/// let mut encoder = gpu.device().create_command_encoder(&Default::default());
/// {
///     let mut pass = encoder.begin_compute_pass(&Default::default());
///     gradient.record(&mut pass, &[]);
///     optimizer.record_step(&mut pass, &Step::lr(1e-3))?;
/// }
/// gpu.queue().submit([encoder.finish()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ComputeKernel {
    gpu: Gpu,
    label: String,
    pipeline: ComputePipeline,
    layout: BindGroupLayout,
}

impl ComputeKernel {
    /// A storage buffer that the kernel reads.
    pub const READ: BindingType = storage(true, false);
    /// One whose place in its buffer is said when the kernel is recorded.
    pub const READ_AT: BindingType = storage(true, true);
    /// A storage buffer that the kernel reads and writes.
    pub const WRITE: BindingType = storage(false, false);
    /// A uniform buffer.
    pub const UNIFORM: BindingType = binding(BufferBindingType::Uniform, false);
    /// One whose place in its buffer is said when the kernel is recorded.
    pub const UNIFORM_AT: BindingType = binding(BufferBindingType::Uniform, true);

    /// Compiles the entry point `main` of this WGSL, with these `override` constants and the bindings 0, 1, 2, …
    /// of group 0. The label names it in errors and tools.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) with what wgpu says of the WGSL, the constants or the bindings; the
    /// device out of memory or lost.
    pub fn new(
        gpu: &Gpu,
        label: &str,
        wgsl: &str,
        constants: &[(&str, f64)],
        bindings: &[BindingType],
    ) -> Result<Self> {
        let source = Source { label, wgsl, constants, zeroes_workgroup: true };
        let (pipeline, layout) = compile(gpu, source, bindings)?;
        Ok(Self { gpu: gpu.clone(), label: label.to_owned(), pipeline, layout })
    }

    /// Binds these resources as 0, 1, 2, … for a grid of `workgroups`.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) if they are not what the kernel was compiled for; the device out of
    /// memory or lost.
    pub fn bind(
        &self,
        resources: &[BindingResource<'_>],
        workgroups: [u32; 3],
    ) -> Result<ComputeDispatch> {
        let bind_group = bind(&self.gpu, &self.label, &self.layout, resources)?;
        Ok(ComputeDispatch { pipeline: self.pipeline.clone(), bind_group, workgroups })
    }
}

/// A [`ComputeKernel`] with its bind group and the size of its grid, ready to be recorded any number of times.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct ComputeDispatch {
    pipeline: ComputePipeline,
    bind_group: BindGroup,
    workgroups: [u32; 3],
}

impl ComputeDispatch {
    /// Records it, with the bytes by which each binding is moved whose place was left open, in their order.
    pub fn record(&self, pass: &mut ComputePass<'_>, offsets: &[u32]) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, offsets);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Grids that every device can have.
impl Gpu {
    /// Lanes of a workgroup of one dimension: 256, or the multiple of 64 that the device permits.
    #[must_use]
    pub fn workgroup_size(&self) -> u32 {
        kernel::workgroup_size(self.limits())
    }

    /// Workgroups in one row of a [folded](Self::fold) grid: a kernel's number among all of them is
    /// `y * row_workgroups + x`.
    #[must_use]
    pub fn row_workgroups(&self) -> u32 {
        kernel::row_workgroups(self.limits())
    }

    /// A grid of at least this many workgroups, in rows: a device permits 65,535 in each dimension. Those of the
    /// last row that are too many must return early.
    #[must_use]
    pub fn fold(&self, workgroups: u64) -> [u32; 3] {
        let (x, y) = kernel::grid(workgroups, self.limits());
        [x, y, 1]
    }
}

const fn storage(read_only: bool, has_dynamic_offset: bool) -> BindingType {
    binding(BufferBindingType::Storage { read_only }, has_dynamic_offset)
}

const fn binding(ty: BufferBindingType, has_dynamic_offset: bool) -> BindingType {
    BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None }
}

/// What is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) label: &'a str,
    pub(crate) wgsl: &'a str,
    pub(crate) constants: &'a [(&'a str, f64)],
    /// Whether memory of a workgroup begins as zeros, as WGSL says: ours is written before it is read.
    pub(crate) zeroes_workgroup: bool,
}

/// Compiles the entry point `main`, with the bindings 0, 1, 2, … of group 0.
pub(crate) fn compile(
    gpu: &Gpu,
    source: Source<'_>,
    bindings: &[BindingType],
) -> Result<(ComputePipeline, BindGroupLayout)> {
    let Source { label, wgsl, constants, zeroes_workgroup } = source;
    let entries: Vec<wgpu::BindGroupLayoutEntry> = (0u32..)
        .zip(bindings)
        .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: *ty,
            count: None,
        })
        .collect();
    let (device, label_of) = (gpu.device(), Some(label));
    gpu.checked(label, || {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: label_of,
            source: wgpu::ShaderSource::Wgsl(wgsl.into()),
        });
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: label_of,
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: label_of,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: label_of,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: zeroes_workgroup,
            },
            cache: None,
        });
        (pipeline, layout)
    })
}

/// A bind group of these resources as bindings 0, 1, 2, …
pub(crate) fn bind(
    gpu: &Gpu,
    label: &str,
    layout: &BindGroupLayout,
    resources: &[BindingResource<'_>],
) -> Result<BindGroup> {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
        .collect();
    let descriptor = wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries };
    gpu.checked(label, || gpu.device().create_bind_group(&descriptor))
}

#[cfg(test)]
mod tests {
    use wgpu::BufferUsages;

    use super::*;
    use crate::Error;

    const DOUBLE: &str = "
        @group(0) @binding(0) var<storage, read_write> values: array<f32>;
        override TIMES: f32;
        @compute @workgroup_size(4)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) { values[id.x] *= TIMES; }";

    #[test]
    fn what_is_wrong_with_a_kernel_is_an_error_with_its_name() {
        let gpu = Gpu::from_env().unwrap();
        let refused = |result: Result<ComputeDispatch>| match result.unwrap_err() {
            Error::Gpu { what, .. } => assert_eq!(what, "double"),
            other => panic!("{other}"),
        };
        let double = |wgsl: &str, constants: &[(&str, f64)], ty: BindingType| {
            let kernel = ComputeKernel::new(&gpu, "double", wgsl, constants, &[ty])?;
            let buffer = gpu.buffer("values", 16, BufferUsages::STORAGE)?;
            kernel.bind(&[buffer.as_entire_binding()], [1, 1, 1])
        };
        let (times, write) = ([("TIMES", 2.0)], ComputeKernel::WRITE);
        double(DOUBLE, &times, write).unwrap();
        refused(double("fn main() {", &times, write));
        refused(double(DOUBLE, &[], write));
        refused(double(DOUBLE, &times, ComputeKernel::READ));
        let uniform = "@compute @workgroup_size(1) fn main() {}";
        refused(double(uniform, &[], ComputeKernel::UNIFORM));
    }

    #[test]
    fn a_folded_grid_has_room_for_all_workgroups() {
        let gpu = Gpu::from_env().unwrap();
        assert_eq!(gpu.fold(0), [0, 0, 1]);
        assert_eq!(gpu.fold(5), [5, 1, 1]);
        let row = gpu.row_workgroups();
        assert_eq!(gpu.fold(u64::from(row) + 1), [row, 2, 1]);
        assert_eq!(gpu.workgroup_size() % 64, 0);
    }
}
