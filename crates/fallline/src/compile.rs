//! Compiling kernels: each once for a device.

use std::sync::Arc;

use fallline_shaders::join;

use crate::{
    Gpu, Result, compute,
    kernel::{Kernel, KernelKey, Kind, Recipe, Update},
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
    /// The kernel that this changes it into, if it changes it.
    pub(crate) fn changed(
        &self,
        gpu: &Gpu,
        change: &impl Fn(&Recipe) -> Option<Recipe>,
    ) -> Result<Kernel> {
        change(&self.recipe).map_or_else(|| Ok(self.clone()), |recipe| kernel(gpu, recipe))
    }
}

impl Recipe {
    /// The same, for groups of this rule whose hyperparameters have come to differ.
    pub(crate) fn with_many_hypers(&self, key: &KernelKey) -> Option<Self> {
        match self {
            Self::Update(update) if update.key == *key && update.one_hyper => {
                Some(Self::Update(Update { one_hyper: false, ..update.clone() }))
            }
            _ => None,
        }
    }

    /// The same, for steps that may set gradients to zero.
    pub(crate) fn with_zero_grads(&self) -> Option<Self> {
        match self {
            Self::Update(update) if update.key.kind == Kind::Rule && !update.zero_grads => {
                Some(Self::Update(Update { zero_grads: true, ..update.clone() }))
            }
            _ => None,
        }
    }
}

fn compile(gpu: &Gpu, recipe: &Recipe) -> Result<Kernel> {
    let wgsl = join(&recipe.sources_on(gpu.rounds_on_bits()));
    let constants = recipe.constants(gpu.limits());
    let (label, constants) = (recipe.label(), constants.as_slice());
    let source = compute::Source { label, wgsl: &wgsl, constants, zeroes_workgroup: false };
    let (pipeline, layout) = compute::compile(gpu, source, &recipe.bindings())?;
    Ok(Kernel { pipeline, layout, recipe: Arc::new(recipe.clone()) })
}
