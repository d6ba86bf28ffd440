use fallline_shaders::{Source, rules::ADAMAX};

use super::{OutOfRange, Rule, builders, ln_beta, momentum, range, weight_decay};
use crate::{Slot, TensorSpec};

/// Adamax: Adam with the largest of the decayed gradients instead of their root mean square.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// m ← lerp(m, g, 1 - β1)
/// u ← max(β2 · u, |g| + eps)
/// p ← p - lr / (1 - β1^t) · m / u
/// ```
///
/// Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, 2014, section 7.1; `torch.optim.Adamax`. There an
/// eps of 0 makes NaN of a parameter whose gradients were all 0; here it stays, as with any u below the least normal
/// f32.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adamax {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the gradient's magnitude, finite and >= 0.
    pub eps: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Adamax {
    /// torch's defaults.
    fn default() -> Self {
        Self { lr: 2e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, maximize: false }
    }
}

builders!(Adamax { lr: f64, betas: (f64, f64), eps: f64, weight_decay: f64, maximize: bool });

impl Rule for Adamax {
    fn source(&self) -> Source {
        ADAMAX
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
        vec![Slot::moment("exp_avg"), Slot::moment("exp_inf").unsigned()]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("ln_beta1", ln_beta(self.betas.0))]
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
