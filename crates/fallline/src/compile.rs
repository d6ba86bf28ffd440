//! Compiling kernels: each once for a device.

use std::sync::Arc;

use fallline_shaders::join;

use crate::{
    Gpu, Result,
    kernel::{Kernel, KernelKey, Recipe, Update},
};

/// The kernel, compiled now or before.
pub(crate) fn kernel(gpu: &Gpu, recipe: Recipe) -> Result<Kernel> {
    let Ok(mut cache) = gpu.kernels.lock() else {
        return compile(gpu, &recipe);
    };
    if let Some(kernel) = cache.get(&recipe) {
        return Ok(kernel.clone());
    }
    let kernel = compile(gpu, &recipe)?;
    cache.insert(recipe, kernel.clone());
    Ok(kernel)
}

impl Kernel {
    /// The same, for groups of this rule whose hyperparameters have come to differ.
    pub(crate) fn with_many_hypers(&self, gpu: &Gpu, key: &KernelKey) -> Result<Kernel> {
        match &*self.recipe {
            Recipe::Update(update) if update.key == *key && update.one_hyper => {
                kernel(gpu, Recipe::Update(Update { one_hyper: false, ..update.clone() }))
            }
            _ => Ok(self.clone()),
        }
    }
}

fn compile(gpu: &Gpu, recipe: &Recipe) -> Result<Kernel> {
    let (device, label) = (gpu.device(), recipe.label());
    let entries: Vec<wgpu::BindGroupLayoutEntry> = (0u32..)
        .zip(recipe.bindings())
        .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        })
        .collect();
    let constants = recipe.constants(gpu.limits());
    gpu.checked(label, || {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(join(&recipe.sources()).into()),
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
                constants: &constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Kernel { pipeline, layout, recipe: Arc::new(recipe.clone()) }
    })
}
