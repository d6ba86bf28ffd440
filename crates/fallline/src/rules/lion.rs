use fallline_shaders::{Source, rules::LION};

use super::{Check, Definition, hyper};
use crate::{Result, Slot, abi};

/// Lion, with decoupled weight decay.
///
/// ```text
/// p ← p · (1 - lr · weight_decay)
/// p ← p - lr · sign(β1 · m + (1 - β1) · g)      sign(0) = 0
/// m ← β2 · m + (1 - β2) · g
/// ```
///
/// Source: Chen et al., *Symbolic Discovery of Optimization Algorithms*, 2023, algorithm 2;
/// `lion_pytorch.Lion`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 of the update's direction and β2 of the average, both in [0, 1).
    pub betas: (f64, f64),
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Lion {
    /// lion-pytorch's defaults.
    fn default() -> Self {
        Self { lr: 1e-4, betas: (0.9, 0.99), weight_decay: 0.0, maximize: false }
    }
}

impl Definition for Lion {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn check(&self, check: &Check<'_>) -> Result<()> {
        check.non_negative("lr", self.lr)?;
        check.betas(self.betas)?;
        check.non_negative("weight_decay", self.weight_decay)
    }

    fn source(&self) -> Source {
        LION
    }

    fn switches(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    fn slots(&self) -> &'static [Slot] {
        const { &[Slot::moment("exp_avg")] }
    }

    fn decoupled_weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn hyper(&self) -> abi::Hyper {
        let (beta1, beta2) = self.betas;
        hyper([beta1, 1.0 - beta1, beta2, 1.0 - beta2])
    }
}
