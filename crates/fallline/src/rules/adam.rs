use fallline_shaders::{Source, rules::ADAM};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, weight_decay,
};
use crate::{Slot, TensorSpec};

/// The state slots of the Adam family, without and with amsgrad.
pub(super) fn adam_slots(amsgrad: bool) -> Vec<Slot> {
    let mut slots = vec![Slot::moment("exp_avg"), Slot::moment("exp_avg_sq").unsigned()];
    if amsgrad {
        slots.push(Slot::moment("max_exp_avg_sq").unsigned());
    }
    slots
}

/// Adam with L2 regularization.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// m ← lerp(m, g, 1 - β1)
/// v ← β2 · v + (1 - β2) · g²
/// w ← max(w, v) with amsgrad, else v
/// p ← p - lr / (1 - β1^t) · m / (√w / √(1 - β2^t) + eps)
/// ```
///
/// Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, 2015, algorithm 1;
/// `torch.optim.Adam`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adam {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// Divide by the largest second moment so far.
    pub amsgrad: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Adam {
    /// torch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            maximize: false,
        }
    }
}

builders!(Adam {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
});

impl Rule for Adam {
    fn source(&self) -> Source {
        ADAM
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

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![("AMSGRAD", self.amsgrad)]
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        adam_slots(self.amsgrad)
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

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
