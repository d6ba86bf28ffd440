//! How fast a step could be.

use super::{Optimizer, places::borrowed_plan};
use crate::{
    Result,
    kernel::Program,
    lend::Lending,
    plan::{Plan, Site},
};

impl Optimizer {
    /// A pass that moves the bytes of a step through the same bindings, every load and store of it,
    /// and computes nothing: how fast a step could be on this device. What clipping and scaling read
    /// beforehand is not among them. Take a step before, so that the tensors' records exist: one that
    /// is not skipped, and that does not set gradients to zero, since the pass would do the same.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn traffic(&self) -> Result<Traffic> {
        let programs: Vec<Program> = self
            .programs
            .iter()
            .map(|program| Program { key: program.key.traffic(), ..program.clone() })
            .collect();
        let site = Site { programs: &programs, ..self.site() };
        let plan = match &self.memory.borrowed {
            None => Plan::arena(site)?,
            Some(tensors) => borrowed_plan(site, &self.infos, &Lending::new(tensors)?)?,
        };
        Ok(Traffic { plan })
    }
}

/// The bare memory traffic of a step, for benchmarks; see [`Optimizer::traffic`].
#[derive(Debug)]
pub struct Traffic {
    plan: Plan,
}

impl Traffic {
    /// Records the dispatches of the step without the one that counts steps. They **overwrite
    /// parameters and state** with each other.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.plan.record(pass);
    }
}
