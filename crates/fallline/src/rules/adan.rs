use fallline_shaders::{Source, rules::ADAN};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, weight_decay,
};
use crate::{Slot, TensorSpec};

/// Adan: Adam with Nesterov momentum by the difference of gradients.
///
/// ```text
/// g ← (-1 if maximize) · g
/// d ← g - the tensor's gradient before, 0 in its first step
/// m ← lerp(m, g, 1 - β1)
/// δ ← lerp(δ, d, 1 - β2)
/// n ← β3 · n + (1 - β3) · (g + β2 · d)²
/// u ← (m / (1 - β1^t) + β2 · δ / (1 - β2^t)) / (√n / √(1 - β3^t) + eps)
/// p ← (p - lr · u) / (1 + lr · weight_decay)                 or  p ← p · (1 - lr · weight_decay) - lr · u  if no_prox
/// ```
///
/// Source: Xie et al., *Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models*, 2022, algorithm
/// 1; `adan.py` of sail-sg/Adan, whose names the slots have: `neg_pre_grad` is the gradient of the step before,
/// negated. There one counter of steps serves a group, so that a tensor that is late gets the bias correction of the
/// others; here each has its own. Its `max_grad_norm` is the clipping of all gradients to a norm, as
/// [`Options::max_norm`](crate::Options): the gradient that is kept is the clipped one, as there. (optax's `adan` weighs
/// δ by 1 - β2.) In state of 8 bits the gradient is kept in these too: measured over 6,000 steps, f32 for it alone
/// brings parameters no nearer to those of a state in f32.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adan {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1, β2 and β3, all in [0, 1).
    pub betas: (f64, f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// Weight decay, decoupled, finite and >= 0.
    pub weight_decay: f64,
    /// Decay the parameter before the update, as AdamW does, and not behind it.
    pub no_prox: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Adan {
    /// sail-sg/Adan's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.98, 0.92, 0.99),
            eps: 1e-8,
            weight_decay: 0.0,
            no_prox: false,
            maximize: false,
        }
    }
}

builders!(Adan {
    lr: f64,
    betas: (f64, f64, f64),
    eps: f64,
    weight_decay: f64,
    no_prox: bool,
    maximize: bool,
});

impl Rule for Adan {
    fn source(&self) -> Source {
        ADAN
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(betas.0);

    fn check(&self) -> Result<(), OutOfRange> {
        let (beta1, beta2, beta3) = self.betas;
        range::non_negative("lr", self.lr)?;
        range::betas((beta1, beta2))?;
        range::beta("betas[2]", beta3)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![
            Slot::moment("exp_avg"),
            Slot::moment("exp_avg_sq").unsigned(),
            Slot::moment("exp_avg_diff"),
            Slot::moment("neg_pre_grad"),
        ]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2, beta3) = self.betas;
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("beta3", beta3),
            ("one_minus_beta3", 1.0 - beta3),
            ("eps", self.eps),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2, beta3) = self.betas;
        let decay = self.weight_decay;
        let (proximal, decoupled) = if self.no_prox { (0.0, decay) } else { (decay, 0.0) };
        vec![
            ("ln_beta1", ln_beta(beta1)),
            ("beta2", beta2),
            ("ln_beta2", ln_beta(beta2)),
            ("ln_beta3", ln_beta(beta3)),
            ("proximal", proximal),
            ("decoupled", decoupled),
        ]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        // g + β2 · d is below 3 in gradients of 1.
        Some(SQUARED_BOUND_EXPONENT - 2)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
