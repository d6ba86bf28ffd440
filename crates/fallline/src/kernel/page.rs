//! A kernel as a page to read.

use fallline_shaders::Source;

use super::{Frame, KernelKey, Margins, Program, Recipe, Stage, TableIn};
use crate::{Result, Rule, TensorSpec};

/// Which kernel of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelStage {
    /// Counts each tensor's step and derives its scalars.
    Advance,
    /// Sums what the rule wants averaged over rows and columns, in parts.
    Margins,
    /// Adds up these, and keeps of them what the rule does.
    Vectors,
    /// Averages what it keeps of rows over each matrix.
    Means,
    /// Sums what the rule wants summed over each tensor.
    Reduce,
    /// Adds up these sums, and decides by them.
    Finish,
    /// Adds up those of many tensors, and decides by them.
    Gather,
    /// Updates parameter and state.
    #[default]
    Update,
    /// Outside of a step: takes an estimate of the Hessian's diagonal.
    Estimate,
}

/// Where parameters and gradients lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelPlaces {
    /// In the engine's buffers.
    #[default]
    Arena,
    /// In buffers of the caller's.
    Borrowed,
}

/// The WGSL of a kernel: every file that it is joined of, under its path, and on top the values of its
/// `override` constants on a device with WebGPU's default limits. What the GPU gets is this without its
/// headings. `None` for a stage that the rule does not have.
///
/// # Errors
/// Formats that do not go together ([`Error::Precision`](crate::Error::Precision)); a mistake in a rule of the
/// caller's.
pub fn kernel_wgsl(
    rule: &dyn Rule,
    tensor: &TensorSpec,
    places: KernelPlaces,
    stage: KernelStage,
) -> Result<Option<String>> {
    let key = KernelKey::of_rule(rule, tensor);
    let slots = rule.slots(tensor);
    slots.iter().try_for_each(|slot| slot.check(tensor))?;
    super::check::check_rule(rule, &slots, &key)?;
    let formats = tensor.formats(tensor.state.unwrap_or_default())?;
    let program = Program::plain(key.clone(), formats);
    let frame = match places {
        KernelPlaces::Arena => Frame::Arena,
        KernelPlaces::Borrowed => {
            Frame::Borrowed { ragged: false, shared: false, runs_in: TableIn::Uniform }
        }
    };
    let recipe = match stage {
        KernelStage::Advance => Recipe::Advance { key, number: 0, counts: true },
        KernelStage::Finish if key.reduces() => Recipe::Finish { key, number: 0, large: false },
        KernelStage::Reduce if key.reduces() => {
            Recipe::Update(program.update(frame, TableIn::Uniform, Stage::Reduce))
        }
        KernelStage::Gather if key.gathers() => Recipe::Gather { key, group: 0 },
        KernelStage::Margins if key.has_vectors() => Recipe::Margins(Margins {
            key,
            grad: tensor.grad_dtype,
            ragged: false,
            tensors_in: TableIn::Uniform,
            clip_value: false,
            lane_vec4s: 8,
        }),
        KernelStage::Vectors if key.has_vectors() => Recipe::Vectors { key, number: 0 },
        KernelStage::Means if key.has_matrices() => Recipe::Means { key, number: 0 },
        KernelStage::Estimate if key.takes_estimates() => {
            let stage = Stage::Estimate { squares: false };
            Recipe::Update(program.update(frame, TableIn::Uniform, stage))
        }
        KernelStage::Estimate
        | KernelStage::Reduce
        | KernelStage::Finish
        | KernelStage::Gather
        | KernelStage::Margins
        | KernelStage::Vectors
        | KernelStage::Means => return Ok(None),
        KernelStage::Update => {
            Recipe::Update(program.update(frame, TableIn::Uniform, Stage::Update))
        }
    };
    Ok(Some(page(&recipe)))
}

fn page(recipe: &Recipe) -> String {
    let mut page = String::new();
    for (name, value) in recipe.constants(&wgpu::Limits::default()) {
        page.push_str(&format!("// {name} = {value}\n"));
    }
    for Source { path, text } in recipe.sources() {
        page.push_str(&format!("\n// ---- {path}.wgsl\n\n{}\n", text.trim_end()));
    }
    page
}
