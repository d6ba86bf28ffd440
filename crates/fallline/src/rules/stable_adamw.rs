use fallline_shaders::{Source, rules::STABLE_ADAMW};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, Scope, builders, ln_beta, momentum, range,
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// StableAdamW: AdamW with Adafactor's clipping of updates.
///
/// ```text
/// g ← (-1 if maximize) · g
/// m ← lerp(m, g, (1 - β1) / (1 - β1^t))
/// v ← lerp(v, g², (1 - β2) / (1 - β2^t))
/// size ← lr / max(1, RMS)                            RMS of g / √max(v, eps²) over the tensor
/// p ← p · (1 - size · weight_decay) - size · m / (√v + eps)
/// ```
///
/// Where gradients are suddenly larger than their second moments know, the step is smaller, so that clipping gradients
/// is not needed. The weights of the averages are such that nothing is left of their beginning at zero: there is no
/// bias to correct.
///
/// Source: Wortsman et al., *Stable and low-precision training for large-scale vision-language models*, 2023,
/// algorithm 2; `optimi.StableAdamW`, without `decouple_lr`. There one counter of steps serves a group; here each tensor
/// has its own. An RMS that is not finite counts as 1, as there. The state is read twice in a step. Of a
/// [piece](crate::Whole) of a tensor, the RMS is the piece's. (pytorch_optimizer's has an eps² of 1e-16 whatever eps is,
/// and is another.)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct StableAdamW {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for StableAdamW {
    /// optimi's defaults; the learning rate, which has none there, is AdamW's.
    fn default() -> Self {
        let (lr, betas, eps, weight_decay) = (1e-3, (0.9, 0.99), 1e-6, 1e-2);
        Self { lr, betas, eps, weight_decay, maximize: false }
    }
}

builders!(StableAdamW { lr: f64, betas: (f64, f64), eps: f64, weight_decay: f64, maximize: bool });

impl Rule for StableAdamW {
    fn source(&self) -> Source {
        STABLE_ADAMW
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
        let least = f64::from(f32::MIN_POSITIVE);
        vec![("eps", self.eps), ("eps_squared", (self.eps * self.eps).max(least))]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("ln_beta1", ln_beta(beta1)),
            ("ln_beta2", ln_beta(beta2)),
            ("one_minus_beta1", 1.0 - beta1),
            ("one_minus_beta2", 1.0 - beta2),
            ("weight_decay", self.weight_decay),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
