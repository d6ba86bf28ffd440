use fallline_shaders::{Source, rules::LARS};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, Scope, builders, momentum, range, weight_decay,
};
use crate::{Slot, TensorSpec};

/// LARS: SGD with a step for each tensor in proportion to the tensor's norm.
///
/// ```text
/// g ← (-1 if maximize) · g
/// u ← g + weight_decay · p
/// trust ← trust_coefficient · ‖p‖ / (‖u‖ + eps), 1 if either norm is 0 or not finite         over the tensor
/// b ← momentum · b - lr · trust · u
/// p ← p + b                                                  if nesterov, p + momentum · b - lr · trust · u
/// ```
///
/// The buffer holds steps and not gradients: a learning rate that changes leaves what is in it as it was.
///
/// Source: You et al., *Large Batch Training of Convolutional Networks*, 2017, algorithm 1; `optax.lars`, whose masks are
/// groups here: biases and the scales of normalizations, which the paper's recipes do not adapt, belong in a group
/// with [`Sgd`](crate::Sgd). (timm's divides by ‖g‖ + weight_decay · ‖p‖ + eps, and keeps the learning rate out of the
/// buffer.) Norms are taken in f32, as there. Where one is infinite trust is 1, and not infinite or 0 as there, so that
/// one element does not take its tensor along. The state is read twice in a step. Of a [piece](crate::Whole) of a
/// tensor, the norms are the piece's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Lars {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// What a step is of the parameter's norm, per learning rate, finite and >= 0.
    pub trust_coefficient: f64,
    /// Added to the norm of the gradient, finite and >= 0.
    pub eps: f64,
    /// μ, finite and >= 0.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Lars {
    /// optax's defaults; the learning rate, which has none there, is timm's.
    fn default() -> Self {
        Self {
            lr: 1.0,
            weight_decay: 0.0,
            trust_coefficient: 1e-3,
            eps: 0.0,
            momentum: 0.9,
            nesterov: false,
            maximize: false,
        }
    }
}

builders!(Lars {
    lr: f64,
    weight_decay: f64,
    trust_coefficient: f64,
    eps: f64,
    momentum: f64,
    nesterov: bool,
    maximize: bool,
});

impl Lars {
    fn has_momentum(&self) -> bool {
        self.momentum != 0.0
    }
}

impl Rule for Lars {
    fn source(&self) -> Source {
        LARS
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(momentum);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        range::non_negative("trust_coefficient", self.trust_coefficient)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("momentum", self.momentum)
    }

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        let has_momentum = self.has_momentum();
        vec![("MOMENTUM", has_momentum), ("NESTEROV", has_momentum && self.nesterov)]
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        self.has_momentum().then_some(Slot::moment("momentum_buffer")).into_iter().collect()
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("weight_decay", self.weight_decay), ("momentum", self.momentum)]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("trust_coefficient", self.trust_coefficient), ("eps", self.eps)]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        // Squares are summed over up to 2^32 elements.
        Some(SQUARED_BOUND_EXPONENT - 16)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
