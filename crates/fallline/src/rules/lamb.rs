use fallline_shaders::{Source, rules::LAMB};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, Scope, builders, ln_beta, momentum, range,
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// LAMB: Adam with a step for each tensor in proportion to the tensor's norm.
///
/// ```text
/// g ← (-1 if maximize) · g
/// m ← lerp(m, g, 1 - β1)
/// v ← β2 · v + (1 - β2) · g²
/// u ← m / (1 - β1^t) / (√v / √(1 - β2^t) + eps) + weight_decay · p
/// trust ← ‖p‖ / ‖u‖, 1 if either is 0 or not finite          over the tensor
/// p ← p - lr · trust · u
/// ```
///
/// Source: You et al., *Large Batch Optimization for Deep Learning: Training BERT in 76 minutes*, 2020,
/// algorithm 2; `optax.lamb`. Norms are taken in f32, as there: squares beyond its range make them infinite or 0. Where
/// one is infinite the trust ratio is 1, and not infinite as there, so that one element does not take its tensor
/// along. The state is read twice in a step. Of a [piece](crate::Whole) of a tensor, the norms are the piece's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Lamb {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// What of the parameter is added to the direction, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Lamb {
    /// optax's defaults; the learning rate, which has none there, is Adam's.
    fn default() -> Self {
        Self { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

builders!(Lamb { lr: f64, betas: (f64, f64), eps: f64, weight_decay: f64, maximize: bool });

impl Rule for Lamb {
    fn source(&self) -> Source {
        LAMB
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(betas.0);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::betas(self.betas)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("exp_avg"), Slot::moment("exp_avg_sq").unsigned()]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![("ln_beta1", ln_beta(beta1)), ("ln_beta2", ln_beta(beta2))]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
