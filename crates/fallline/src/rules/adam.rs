use fallline_shaders::{Source, rules::ADAM};

use super::{Check, Definition, SQUARED_BOUND_EXPONENT, hyper};
use crate::{Result, Slot, abi};

/// The state slots of the Adam family, without and with amsgrad.
pub(super) fn adam_slots(amsgrad: bool) -> &'static [Slot] {
    const SLOTS: [Slot; 3] = [
        Slot::moment("exp_avg"),
        Slot::moment("exp_avg_sq").unsigned(),
        Slot::moment("max_exp_avg_sq").unsigned(),
    ];
    if amsgrad { &SLOTS } else { &SLOTS[..2] }
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
#[derive(Clone, Copy, Debug, PartialEq)]
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

impl Definition for Adam {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn check(&self, check: &Check<'_>) -> Result<()> {
        check.non_negative("lr", self.lr)?;
        check.betas(self.betas)?;
        check.non_negative("eps", self.eps)?;
        check.non_negative("weight_decay", self.weight_decay)
    }

    fn source(&self) -> Source {
        ADAM
    }

    fn switches(&self) -> Vec<(&'static str, bool)> {
        vec![("AMSGRAD", self.amsgrad)]
    }

    fn slots(&self) -> &'static [Slot] {
        adam_slots(self.amsgrad)
    }

    fn bias_correction_betas(&self) -> (f64, f64) {
        self.betas
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn hyper(&self) -> abi::Hyper {
        let (beta1, beta2) = self.betas;
        hyper([1.0 - beta1, beta2, 1.0 - beta2, self.eps, self.weight_decay])
    }
}
