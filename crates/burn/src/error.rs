//! What can go wrong, as values.

use burn::tensor::DType;

/// What can go wrong with a fused step.
///
/// Burn's own traits have no place for an error: where one of them calls, it becomes a panic with the same message.
/// [`Fused::try_step`](crate::Fused::try_step) gives it back instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] fallline::Error),
    /// A configuration of Burn's that asks for what the engine does not do, or does in another way.
    #[error("{config}: {field} is {found}, and must be {expected}")]
    Config {
        /// The type of the configuration.
        config: &'static str,
        /// What cannot be taken over.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A configuration of another Burn than the one that this crate is for.
    #[error("{config} does not have the fields that this crate knows")]
    UnknownConfig {
        /// The type of the configuration.
        config: &'static str,
        /// What differs.
        source: serde_json::Error,
    },
    /// What holds for all tensors together, given for a group.
    #[error("{what} holds for all groups: give it to FusedConfig::init, not to Fused::group")]
    OfAllGroups {
        /// What it is.
        what: &'static str,
    },
    /// A group that comes after the first step.
    #[error("groups are added before the first step")]
    LateGroup,
    /// A tensor that is not in a buffer of wgpu's.
    #[error("a tensor lies elsewhere than on a wgpu device ({reason})")]
    NotWgpu {
        /// What Burn says.
        reason: String,
    },
    /// A parameter or gradient in a format that the engine does not have.
    #[error("a parameter or gradient must be f32, f16 or bf16, found {found:?}")]
    Dtype {
        /// Its format.
        found: DType,
    },
    /// A parameter that is no longer what the optimizer's state belongs to.
    #[error("parameter '{parameter}' has the state of {expected}, but is {found}")]
    Changed {
        /// The parameter.
        parameter: String,
        /// What the state belongs to.
        expected: String,
        /// What the parameter or its gradient is.
        found: String,
    },
    /// A record that does not hold the state of the parameter's rule.
    #[error("the record of parameter '{parameter}' is not the state of {rule}: {reason}")]
    Record {
        /// The parameter.
        parameter: String,
        /// The rule.
        rule: String,
        /// What does not fit.
        reason: String,
    },
    /// Work of Burn's that failed: what a parameter or gradient would have been was never computed.
    #[error("Burn could not say where tensors lie: {reason}")]
    Burn {
        /// What Burn says.
        reason: String,
    },
    /// A step of a single tensor where all of them are needed at once.
    #[error(
        "{what} needs the gradients of all tensors at once: step with fallline_burn::step(optim, lr, module, grads) \
         (in a Learner: override TrainStep::optimize to call it) or with Fused::step, and not with \
         ModuleOptimizer::step"
    )]
    OutsideOfStep {
        /// What needs all of them.
        what: &'static str,
    },
    /// A module whose parameters have taken no step with this optimizer, or only one by one.
    #[error(
        "no parameter of the module has taken a step with this optimizer as part of its module"
    )]
    NotStepped,
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A step that was refused, with the module as it was.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct Refused<M> {
    /// The module; no parameter of it has changed.
    pub module: M,
    /// Why.
    #[source]
    pub error: Error,
}

impl<M> std::fmt::Debug for Refused<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}
