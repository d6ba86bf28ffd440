use fallline_shaders::{Source, rules::ADABELIEF};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, rectification,
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// AdaBelief: Adam with the variance of gradients around their average in the place of their mean square.
///
/// ```text
/// g ← (-1 if maximize) · g
/// p ← p · (1 - lr · weight_decay)  if weight_decouple, else  g ← g + weight_decay · p
/// m ← lerp(m, g, 1 - β1)
/// s ← β2 · s + (1 - β2) · (g - m)² + eps
/// s ← max over all steps, for the quotient alone                         if amsgrad
/// p ← p - lr / (1 - β1^t) · m / (√s / √(1 - β2^t) + eps)                 without rectify; with it
/// p ← p - lr / (1 - β1^t) · r · √(1 - β2^t) · m / (√s + eps)             if ρ(t) ≥ 5
/// p ← p - lr / (1 - β1^t) · m                                            else, in the first steps
/// ```
///
/// with ρ∞ = 2 / (1 - β2) - 1, ρ(t) = ρ∞ - 2 · t · β2^t / (1 - β2^t) and
/// r = √((ρ(t) - 4) · (ρ(t) - 2) · ρ∞ / ((ρ∞ - 4) · (ρ∞ - 2) · ρ(t))). With a β2 of 0.999 the sixth step is the first that
/// is rectified; with one of 2/3 or less none is.
///
/// Source: Zhuang et al., *AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients*, 2020, algorithm
/// 2; rectification: Liu et al., *On the Variance of the Adaptive Learning Rate and Beyond*, 2020; `adabelief_pytorch`,
/// without its `fixed_decay` and `degenerated_to_sgd` (which is on). With `rectify` its `amsgrad` keeps the largest s and
/// makes nothing of it; here the two together are refused. As there and in the paper, eps is
/// added in every step to the s that is kept, and so comes to eps / (1 - β2) in it; in f32 an eps of 1e-16 does nothing
/// where s is above 1e-9.
///
/// s is kept in f32 in any format of state. A code of it may be 0 where its block has larger ones; Adam's v then still
/// has the square of the present gradient, but g - m may be next to nothing beside m. (Measured over 6,000 steps of
/// noisy gradients, with int8: single parameters were astray by 19 times what parameters move, those of AdamW by 2.)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct AdaBelief {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the variance in every step, and to the denominator, finite and >= 0.
    pub eps: f64,
    /// L2 penalty or decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Whether the weight decay is decoupled, as AdamW's.
    pub weight_decouple: bool,
    /// Whether steps are smaller as long as s is the average of few gradients, as RAdam's.
    pub rectify: bool,
    /// Divide by the largest variance so far; not with `rectify`.
    pub amsgrad: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for AdaBelief {
    /// adabelief_pytorch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-16,
            weight_decay: 0.0,
            weight_decouple: true,
            rectify: true,
            amsgrad: false,
            maximize: false,
        }
    }
}

builders!(AdaBelief {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    weight_decouple: bool,
    rectify: bool,
    amsgrad: bool,
    maximize: bool,
});

impl Rule for AdaBelief {
    fn source(&self) -> Source {
        ADABELIEF
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
        let both = self.amsgrad && self.rectify;
        range::check(!both, "amsgrad", "off with rectify", 1.0)
    }

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![("AMSGRAD", self.amsgrad)]
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        let mut slots =
            vec![Slot::moment("exp_avg"), Slot::moment("exp_avg_var").unsigned().exact()];
        slots.extend(self.amsgrad.then_some(Slot::moment("max_exp_avg_var").unsigned()));
        slots
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("eps", self.eps),
            ("l2", if self.weight_decouple { 0.0 } else { self.weight_decay }),
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
            ("decoupled", if self.weight_decouple { self.weight_decay } else { 0.0 }),
            ("rectify", f64::from(u8::from(self.rectify))),
        ]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn has_decoupled_decay(&self) -> bool {
        self.weight_decouple
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
