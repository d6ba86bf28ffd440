//! From a rule and formats to a compute pipeline. Each distinct kernel is compiled once per device.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Mutex};

use fallline_shaders::{Source, codecs, control, frames, join, probes, shared};
use wgpu::{BindGroupLayout, BindingType, BufferBindingType, ComputePipeline};

use crate::{Gpu, Result, abi, rules::Definition};

/// Tensors whose records fit the uniform buffer of `shared/tensors_uniform.wgsl`.
pub(crate) const MAX_UNIFORM_TENSORS: usize = 1024;

/// Who owns parameters and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Frame {
    Arena,
    Borrowed {
        /// Single elements are touched, not whole vec4s.
        ragged: bool,
        /// One binding serves parameters and gradients.
        shared: bool,
    },
}

/// Everything that makes one kernel differ from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelKey {
    pub(crate) rule: Source,
    /// Its `override` constants.
    pub(crate) switches: Vec<(&'static str, u8)>,
    pub(crate) slots: &'static [&'static str],
}

impl KernelKey {
    pub(crate) fn new(definition: &dyn Definition) -> Self {
        Self {
            rule: definition.source(),
            switches: definition
                .switches()
                .into_iter()
                .map(|(name, on)| (name, u8::from(on)))
                .collect(),
            slots: definition.slots(),
        }
    }

    /// The kernel that moves what this one moves, and computes nothing.
    pub(crate) fn traffic(&self) -> Self {
        let slots = u8::try_from(self.slots.len()).unwrap_or(u8::MAX);
        Self { rule: probes::TRAFFIC, switches: vec![("SLOTS", slots)], slots: self.slots }
    }
}

/// Sets of hyperparameters that a kernel can tell apart: the length of `hypers` in the frames, 16 KiB.
pub(crate) const MAX_HYPERS: usize = 512;

/// A kernel's rule with the distinct hyperparameters of the groups that use it.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) key: KernelKey,
    pub(crate) hypers: Vec<abi::Hyper>,
}

impl Program {
    /// The kernel that steps this rule in this frame.
    pub(crate) fn update(&self, frame: Frame, tensors_in: TensorsIn) -> Update {
        Update { frame, tensors_in, one_hyper: self.hypers.len() == 1, key: self.key.clone() }
    }
}

/// Where the tensors' records lie: uniform if they fit, since that is read faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TensorsIn {
    Uniform,
    Storage,
}

impl TensorsIn {
    pub(crate) fn for_len(tensors: usize, limits: &wgpu::Limits) -> Self {
        let uniform_bytes = MAX_UNIFORM_TENSORS * size_of::<abi::Tensor>();
        let fits = uniform_bytes as u64 <= limits.max_uniform_buffer_binding_size;
        if fits && tensors <= MAX_UNIFORM_TENSORS { Self::Uniform } else { Self::Storage }
    }

    fn source(self) -> Source {
        match self {
            Self::Uniform => shared::TENSORS_UNIFORM,
            Self::Storage => shared::TENSORS_STORAGE,
        }
    }
}

/// An update kernel, whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Update {
    pub(crate) frame: Frame,
    pub(crate) tensors_in: TensorsIn,
    /// Whether all groups have the same hyperparameters.
    pub(crate) one_hyper: bool,
    pub(crate) key: KernelKey,
}

impl Update {
    /// The files that make up the kernel; the frame first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let (frame, param, grad) = match self.frame {
            Frame::Arena => (frames::ARENA, codecs::PARAM_F32, codecs::GRAD_F32),
            Frame::Borrowed { ragged, shared } => {
                let (param, grad) = if ragged {
                    (codecs::PARAM_F32_SCALAR, codecs::GRAD_F32_SCALAR)
                } else {
                    (codecs::PARAM_F32, codecs::GRAD_F32)
                };
                (frames::BORROWED, param, if shared { codecs::GRAD_SHARED } else { grad })
            }
        };
        let tensors = self.tensors_in.source();
        vec![
            frame,
            self.key.rule,
            param,
            grad,
            codecs::STATE_F32,
            tensors,
            shared::TENSOR,
            shared::HYPER,
            shared::UPDATED,
            shared::LERP,
        ]
    }

    fn bindings(&self) -> Vec<BindingType> {
        let tensors = match self.tensors_in {
            TensorsIn::Uniform => UNIFORM,
            TensorsIn::Storage => READ,
        };
        let mut bindings = vec![tensors, READ, WRITE, WRITE, WRITE, WRITE, WRITE, UNIFORM];
        if matches!(self.frame, Frame::Borrowed { .. }) {
            bindings.push(UNIFORM);
        }
        bindings
    }
}

/// The files of the kernel that counts steps.
pub(crate) fn advance_sources() -> Vec<Source> {
    vec![control::ADVANCE, shared::TENSOR, shared::EXPM1]
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
}

/// The kernels of a device that were compiled so far.
#[derive(Debug, Default)]
pub(crate) struct KernelCache {
    updates: Mutex<HashMap<Update, Kernel>>,
}

const UNIFORM: BindingType = buffer_binding(BufferBindingType::Uniform, false);
const READ: BindingType = buffer_binding(BufferBindingType::Storage { read_only: true }, false);
const READ_AT: BindingType = buffer_binding(BufferBindingType::Storage { read_only: true }, true);
const WRITE: BindingType = buffer_binding(BufferBindingType::Storage { read_only: false }, false);

const fn buffer_binding(ty: BufferBindingType, has_dynamic_offset: bool) -> BindingType {
    BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None }
}

/// The update kernel, compiled now or before.
pub(crate) fn update(gpu: &Gpu, update: Update) -> Result<Kernel> {
    let Ok(mut cache) = gpu.kernels.updates.lock() else {
        return compile_update(gpu, &update);
    };
    if let Some(kernel) = cache.get(&update) {
        return Ok(kernel.clone());
    }
    let kernel = compile_update(gpu, &update)?;
    cache.insert(update, kernel.clone());
    Ok(kernel)
}

fn compile_update(gpu: &Gpu, update: &Update) -> Result<Kernel> {
    let constants = constants_of(update, gpu.limits());
    compile(gpu, update.key.rule.path, &update.sources(), &constants, &update.bindings())
}

/// The `override` constants of an update kernel.
fn constants_of(update: &Update, limits: &wgpu::Limits) -> Vec<(&'static str, f64)> {
    let switches = update.key.switches.iter().map(|(name, value)| (*name, f64::from(*value)));
    let frame = [
        ("ONE_HYPER", f64::from(u8::from(update.one_hyper))),
        ("WORKGROUP_SIZE", f64::from(workgroup_size(limits))),
        ("ROW_WORKGROUPS", f64::from(row_workgroups(limits))),
    ];
    switches.chain(frame).collect()
}

/// The kernel that counts steps.
pub(crate) fn advance(gpu: &Gpu) -> Result<Kernel> {
    let constants = [("ROW_WORKGROUPS", f64::from(row_workgroups(gpu.limits())))];
    let bindings = [READ_AT, READ_AT, READ, READ, WRITE, WRITE];
    compile(gpu, control::ADVANCE.path, &advance_sources(), &constants, &bindings)
}

/// Lanes of an update's workgroup: 256, or what the device permits.
pub(crate) fn workgroup_size(limits: &wgpu::Limits) -> u32 {
    let most =
        limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
    if most >= 256 { 256 } else { most / 64 * 64 }
}

/// Workgroups in one row of a dispatch.
pub(crate) fn row_workgroups(limits: &wgpu::Limits) -> u32 {
    limits.max_compute_workgroups_per_dimension.clamp(1, 32768)
}

/// The (x, y) of a dispatch of at least this many workgroups.
pub(crate) fn fold(workgroups: u64, limits: &wgpu::Limits) -> (u32, u32) {
    let row = u64::from(row_workgroups(limits));
    let rows = workgroups.div_ceil(row);
    debug_assert!(rows <= limits.max_compute_workgroups_per_dimension.into(), "a window too large");
    let fit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    (fit(workgroups.min(row)), fit(rows))
}

fn compile(
    gpu: &Gpu,
    label: &str,
    sources: &[Source],
    constants: &[(&str, f64)],
    bindings: &[BindingType],
) -> Result<Kernel> {
    let device = gpu.device();
    let entries: Vec<wgpu::BindGroupLayoutEntry> = (0u32..)
        .zip(bindings)
        .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: *ty,
            count: None,
        })
        .collect();
    gpu.checked(label, || {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(join(sources).into()),
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
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Kernel { pipeline, layout }
    })
}
