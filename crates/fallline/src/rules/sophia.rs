use fallline_shaders::{Source, rules::SOPHIA};

use super::{OutOfRange, Rule, builders, momentum, range, weight_decay};
use crate::{Slot, TensorSpec};

/// Sophia-G: momentum divided by an estimate of the Hessian's diagonal, clipped for each element.
///
/// ```text
/// h ← β2 · h + (1 - β2) · ĥ                         where an estimate ĥ is handed in, every k = 10 steps, say
/// p ← p · (1 - lr · weight_decay)
/// m ← β1 · m + (1 - β1) · g
/// p ← p - lr · clamp(m / max(rho · h, eps), -1, 1)
/// ```
///
/// Estimates come from the runtime: see [`Optimizer::encode_estimate`](crate::Optimizer::encode_estimate). Of
/// gradients ĝ of a mean loss over B examples whose labels were drawn from the model it is ĥ = B · ĝ², which is
/// [`Estimate::squared`](crate::Estimate::squared); u ⊙ (H u) of a random u, Hutchinson's, is
/// [`Estimate::diagonal`](crate::Estimate::diagonal). Before the first one h is 0, and every step is that of a sign.
///
/// Source: Liu et al., *Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training*, 2023;
/// sophia-opt 0.2.2. There B multiplies h in the step (`bs`), and eps = 1e-15 is added to the denominator, which an
/// estimate below zero can make negative, and the step uphill: here it is at least eps, as in the paper. h is signed for
/// these estimates; state in blocks of codes makes its smallest values 0, and their steps those of a sign.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Sophia {
    /// Learning rate, finite and >= 0: how far an element moves at most.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Multiplies h, finite and >= 0: the smaller, the more elements move by lr.
    pub rho: f64,
    /// The least denominator, finite and > 0.
    pub eps: f64,
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it. Estimates are then of its negative's Hessian.
    pub maximize: bool,
}

impl Default for Sophia {
    /// sophia-opt's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-4,
            betas: (0.965, 0.99),
            rho: 0.04,
            eps: 1e-15,
            weight_decay: 0.1,
            maximize: false,
        }
    }
}

builders!(Sophia {
    lr: f64,
    betas: (f64, f64),
    rho: f64,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
});

impl Rule for Sophia {
    fn source(&self) -> Source {
        SOPHIA
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(betas.0);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::betas(self.betas)?;
        range::non_negative("rho", self.rho)?;
        range::positive("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("exp_avg"), Slot::moment("hessian")]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("beta1", beta1),
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("rho", self.rho),
            ("eps", self.eps),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("weight_decay", self.weight_decay)]
    }

    fn estimated(&self) -> &'static [&'static str] {
        &["hessian"]
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
