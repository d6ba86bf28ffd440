//! How fast a step could be.

use super::{Dispatches, Lies, Optimizer};
use crate::{
    Result, compile,
    dispatch::{Dispatch, PartDispatch},
    kernel::{Program, Recipe},
    update::{self, UpdateInputs},
};

impl Optimizer {
    /// A pass that moves the bytes of a step through the same bindings, every load and store of it, and
    /// computes nothing: how fast a step could be on this device. Words of any format are moved as they are,
    /// and nothing changes. What clipping and scaling read beforehand is not among them. Take a step before,
    /// so that the tensors' records exist: one that is not skipped, and that does not set gradients to zero.
    /// (Of tensors that a step found elsewhere than the optimizer was built with, what is summed over rows
    /// and columns is not among them either.)
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn traffic(&self) -> Result<Traffic> {
        let programs: Vec<Program> = self
            .programs
            .iter()
            .map(|program| Program { key: program.key.traffic(), ..program.clone() })
            .collect();
        let update_inputs = UpdateInputs { programs: &programs, ..self.update_inputs() };
        let dispatches = match &self.lies {
            Lies::Arena { .. } => Dispatches::Arena(update::arena(update_inputs)?),
            Lies::Borrowed(borrowed) => {
                Dispatches::Borrowed(borrowed.fixed(update_inputs, &self.infos)?)
            }
        };
        let mut margins = Vec::new();
        for rows in self.lies.rows_of_first_places() {
            if let Recipe::Margins(of_rule) = &*rows.dispatch.kernel.recipe {
                let kernel = compile::kernel(&self.gpu, Recipe::Margins(of_rule.traffic()))?;
                let dispatch = Dispatch { kernel, ..rows.dispatch.clone() };
                let offset = self.control.inputs.first_places() + rows.offset;
                margins.push(PartDispatch { dispatch, offset });
            }
        }
        Ok(Traffic { margins, dispatches })
    }
}

/// The bare memory traffic of a step, for benchmarks; see [`Optimizer::traffic`].
#[derive(Debug)]
pub struct Traffic {
    /// Those that sum rows and columns.
    margins: Vec<PartDispatch>,
    dispatches: Dispatches,
}

impl Traffic {
    /// Records the dispatches of the step without those that measure and count. They change nothing.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        for PartDispatch { dispatch, offset } in &self.margins {
            dispatch.record(pass, &[*offset, 0]);
        }
        self.dispatches.record(pass, 0);
    }
}
