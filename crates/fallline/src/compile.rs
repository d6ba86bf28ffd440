//! Compiling kernels: each once for a device.

use std::sync::Arc;

use fallline_shaders::join;

use crate::{
    Gpu, Result, compute,
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
    let (wgsl, constants) = (join(&recipe.sources()), recipe.constants(gpu.limits()));
    let (label, constants) = (recipe.label(), constants.as_slice());
    let source = compute::Source { label, wgsl: &wgsl, constants, zeroes_workgroup: false };
    let (pipeline, layout) = compute::compile(gpu, source, &recipe.bindings())?;
    Ok(Kernel { pipeline, layout, recipe: Arc::new(recipe.clone()) })
}
