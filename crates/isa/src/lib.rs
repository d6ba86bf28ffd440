//! Compiles kernels for a GPU that need not be there.
//!
//! Mesa's RADV can pretend to have any AMD GPU: it compiles for it, and runs nothing. wgpu gets no device of
//! that, since it wants a timeline semaphore, which the pretence lacks. wgpu-hal below it wants none to make a
//! pipeline, and makes it as it does for wgpu: the driver gets the same SPIR-V and the same bounds checks.

#![cfg(target_os = "linux")]

use std::borrow::Cow;

use anyhow::{Context, Result};
use wgpu::{
    hal::{self, Adapter as _, Device as _, Instance as _},
    naga::valid::{Capabilities, ValidationFlags, Validator},
};

/// The compiler of a driver.
#[allow(missing_debug_implementations, reason = "a device of wgpu-hal has none")]
pub struct Compiler {
    device: hal::vulkan::Device,
}

impl Compiler {
    /// That of the first adapter whose driver has this name.
    ///
    /// # Errors
    /// There is no Vulkan, no such driver, or it gives no device.
    pub fn open(driver: &str) -> Result<Self> {
        let describe = hal::InstanceDescriptor {
            name: "isa",
            flags: wgpu::InstanceFlags::empty(),
            memory_budget_thresholds: wgpu::MemoryBudgetThresholds::default(),
            backend_options: wgpu::BackendOptions::default(),
            telemetry: None,
            display: None,
        };
        // SAFETY: adapters keep their instance alive.
        let adapters = unsafe {
            hal::vulkan::Instance::init(&describe).context("no Vulkan")?.enumerate_adapters(None)
        };
        let found = adapters.into_iter().find(|adapter| adapter.info.driver == driver);
        let adapter = found.with_context(|| format!("no adapter of {driver}"))?.adapter;
        let limits = wgpu::Limits::default();
        // SAFETY: no features are asked for, and no limits but those that every adapter has.
        let opened = unsafe {
            adapter.open(wgpu::Features::empty(), &limits, &wgpu::MemoryHints::default())
        };
        // Nothing is ever submitted: the queue may go.
        Ok(Self { device: opened.context("no device")?.device })
    }

    /// Compiles the entry point `main`, with these constants, for these buffers as bindings 0, 1, 2, …
    ///
    /// # Errors
    /// The kernel is not valid, or the driver refuses it.
    pub fn compile(
        &self,
        wgsl: &str,
        constants: &[(&str, f64)],
        bindings: &[wgpu::BindingType],
    ) -> Result<()> {
        let module = wgpu::naga::front::wgsl::parse_str(wgsl)?;
        let info =
            Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module)?;
        let shader = hal::NagaShader { module: Cow::Owned(module), info, debug_source: None };
        let entries: Vec<_> = (0..)
            .zip(bindings)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: *ty,
                count: None,
            })
            .collect();
        let constants =
            constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let device = &self.device;
        // SAFETY: the module is valid, the layouts are this device's and live as long as what is made of
        // them, and nothing is used once it is destroyed.
        unsafe {
            let module = device.create_shader_module(
                &hal::ShaderModuleDescriptor {
                    label: None,
                    runtime_checks: wgpu::ShaderRuntimeChecks::checked(),
                },
                hal::ShaderInput::Naga(shader),
            )?;
            let layout = device.create_bind_group_layout(&hal::BindGroupLayoutDescriptor {
                label: None,
                flags: hal::BindGroupLayoutFlags::empty(),
                entries: &entries,
            })?;
            let pipeline_layout =
                device.create_pipeline_layout(&hal::PipelineLayoutDescriptor {
                    label: None,
                    flags: hal::PipelineLayoutFlags::empty(),
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                })?;
            let pipeline = device.create_compute_pipeline(&hal::ComputePipelineDescriptor {
                label: None,
                layout: &pipeline_layout,
                stage: hal::ProgrammableStage {
                    module: &module,
                    entry_point: "main",
                    constants: &constants,
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })?;
            device.destroy_compute_pipeline(pipeline);
            device.destroy_pipeline_layout(pipeline_layout);
            device.destroy_bind_group_layout(layout);
            device.destroy_shader_module(module);
        }
        Ok(())
    }
}
