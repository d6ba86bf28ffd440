use fallline_shaders::{Source, rules::NADAM};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, weight_decay,
};
use crate::{Slot, TensorSpec};

/// NAdam: Adam with Nesterov momentum on a schedule.
///
/// ```text
/// μ(t) = β1 · (1 - 0.96^(t · momentum_decay) / 2),   Π ← Π · μ(t), 1 at first
/// g ← (-1 if maximize) · g,  then  p ← p · (1 - lr · weight_decay)  if decoupled, else  g ← g + weight_decay · p
/// m ← lerp(m, g, 1 - β1)
/// v ← β2 · v + (1 - β2) · g²
/// d ← √v / √(1 - β2^t) + eps
/// p ← p - lr · (1 - μ(t)) / (1 - Π) · g / d - lr · μ(t+1) / (1 - Π · μ(t+1)) · m / d
/// ```
///
/// Source: Dozat, *Incorporating Nesterov Momentum into Adam*, 2016; `torch.optim.NAdam`. Π is a
/// [slot](Slot::scalar), `mu_product`, of each tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct NAdam {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// L2 penalty or decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// How fast μ goes from β1 / 2 to β1, finite and >= 0.
    pub momentum_decay: f64,
    /// Whether the weight decay is decoupled, as AdamW's.
    pub decoupled_weight_decay: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for NAdam {
    /// torch's defaults.
    fn default() -> Self {
        Self {
            lr: 2e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            momentum_decay: 4e-3,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

builders!(NAdam {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    momentum_decay: f64,
    decoupled_weight_decay: bool,
    maximize: bool,
});

impl Rule for NAdam {
    fn source(&self) -> Source {
        NADAM
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
        range::non_negative("weight_decay", self.weight_decay)?;
        range::non_negative("momentum_decay", self.momentum_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![
            Slot::moment("exp_avg"),
            Slot::moment("exp_avg_sq").unsigned(),
            Slot::scalar("mu_product"),
        ]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("eps", self.eps),
            ("l2", if self.decoupled_weight_decay { 0.0 } else { self.weight_decay }),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("beta1", beta1),
            ("one_minus_beta1", 1.0 - beta1),
            ("ln_beta2", ln_beta(beta2)),
            ("ln_momentum_decay", 0.96f64.ln() * self.momentum_decay),
            ("decoupled", if self.decoupled_weight_decay { self.weight_decay } else { 0.0 }),
        ]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn has_decoupled_decay(&self) -> bool {
        self.decoupled_weight_decay
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
