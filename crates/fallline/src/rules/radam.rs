use fallline_shaders::{Source, rules::RADAM};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, rectification,
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// RAdam: Adam whose steps are shorter while its second moment is uncertain, and at first by momentum alone.
///
/// ```text
/// g ← (-1 if maximize) · g,  then  p ← p · (1 - lr · weight_decay)  if decoupled, else  g ← g + weight_decay · p
/// m ← lerp(m, g, 1 - β1)
/// v ← β2 · v + (1 - β2) · g²
/// ρ ← ρ∞ - 2 · t · β2^t / (1 - β2^t),   ρ∞ = 2 / (1 - β2) - 1
/// r ← √((ρ - 4) · (ρ - 2) · ρ∞ / ((ρ∞ - 4) · (ρ∞ - 2) · ρ))
/// p ← p - lr / (1 - β1^t) · m                                          while ρ <= 5
/// p ← p - lr / (1 - β1^t) · r · √(1 - β2^t) · m / (√v + eps)           from then on
/// ```
///
/// With β2 = 0.999 the sixth step is the first of the second kind; with a β2 of 2/3 or less none is.
///
/// Source: Liu et al., *On the Variance of the Adaptive Learning Rate and Beyond*, 2019; `torch.optim.RAdam`. As
/// there, eps is added before the bias of v is corrected, unlike Adam's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct RAdam {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// L2 penalty or decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Whether the weight decay is decoupled, as AdamW's.
    pub decoupled_weight_decay: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for RAdam {
    /// torch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

builders!(RAdam {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    decoupled_weight_decay: bool,
    maximize: bool,
});

impl Rule for RAdam {
    fn source(&self) -> Source {
        RADAM
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
            ("l2", if self.decoupled_weight_decay { 0.0 } else { self.weight_decay }),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        let (rho_inf, rectification_scale) = rectification(beta2);
        vec![
            ("ln_beta1", ln_beta(beta1)),
            ("ln_beta2", ln_beta(beta2)),
            ("rho_inf", rho_inf),
            ("rectification_scale", rectification_scale),
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
