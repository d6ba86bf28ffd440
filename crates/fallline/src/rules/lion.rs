use fallline_shaders::{Source, rules::LION};

use super::{OutOfRange, Rule, builders, momentum, range, weight_decay};
use crate::{Slot, TensorSpec};

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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
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

builders!(Lion { lr: f64, betas: (f64, f64), weight_decay: f64, maximize: bool });

impl Rule for Lion {
    fn source(&self) -> Source {
        LION
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(betas.0);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::betas(self.betas)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("exp_avg")]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("beta1", beta1),
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("weight_decay", self.weight_decay)]
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
