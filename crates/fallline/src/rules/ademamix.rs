use fallline_shaders::{Source, rules::ADEMAMIX};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, weight_decay,
};
use crate::{Slot, TensorSpec};

/// AdEMAMix: AdamW with a second, slow average of gradients beside its own.
///
/// ```text
/// g ← (-1 if maximize) · g
/// m ← lerp(m, g, 1 - β1)
/// s ← lerp(s, g, 1 - β3(t))
/// v ← β2 · v + (1 - β2) · g²
/// u ← (m / (1 - β1^t) + α(t) · s) / (√v / √(1 - β2^t) + eps)
/// p ← p · (1 - lr · weight_decay) - lr · u
/// α(t) = alpha · min(1, t / alpha_warmup)
/// ln β3(t) = 1 / ((1 - t / T) / ln β1 + t / T / ln β3)       for t < T = beta3_warmup, then ln β3
/// ```
///
/// s has no bias correction. It is kept in f32 in any format of state: a step changes it by a ten-thousandth of the
/// gradient, which codes of 8 bits do not show. (Measured over 6,000 steps of noisy gradients: in int8 it was wrong by
/// 38 % of its norm, in bf16 with stochastic rounding by 7 %.) The warm-ups let it in slowly, which the paper needs where training does not begin from
/// a checkpoint: α rises evenly, and so does the half-life of s, from that of m.
///
/// Source: Pagliardini et al., *The AdEMAMix Optimizer: Better, Faster, Older*, 2024, algorithm 1; `ademamix.py` of
/// apple/ml-ademamix, which adds 1e-8 to both betas of the second warm-up: with a β1 of 0 that alone decides how it goes,
/// and it is refused here. (pytorch_optimizer has one option, `t_alpha_beta3`, for both warm-ups, an alpha of 5, as
/// the paper and bitsandbytes have, and an L2 penalty unless `weight_decouple` is on.)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct AdEmaMix {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1, β2 and β3, all in [0, 1); β1 and β3 not 0 with a `beta3_warmup`.
    pub betas: (f64, f64, f64),
    /// How much the slow average weighs, finite and >= 0.
    pub alpha: f64,
    /// Steps in which alpha rises from 0, if it does.
    pub alpha_warmup: Option<u32>,
    /// Steps in which β3 rises from β1, if it does.
    pub beta3_warmup: Option<u32>,
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for AdEmaMix {
    /// apple/ml-ademamix's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999, 0.9999),
            alpha: 2.0,
            alpha_warmup: None,
            beta3_warmup: None,
            eps: 1e-8,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

builders!(AdEmaMix {
    lr: f64,
    betas: (f64, f64, f64),
    alpha: f64,
    alpha_warmup: Option<u32>,
    beta3_warmup: Option<u32>,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
});

impl AdEmaMix {
    /// Steps in which β3 rises; of 0 and 1 none is before the last.
    fn beta3_steps(&self) -> u32 {
        self.beta3_warmup.unwrap_or(0)
    }
}

impl Rule for AdEmaMix {
    fn source(&self) -> Source {
        ADEMAMIX
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
        if self.beta3_steps() > 0 {
            let expected = "in (0, 1) with beta3_warmup";
            range::check(beta1 > 0.0, "betas[0]", expected, beta1)?;
            range::check(beta3 > 0.0, "betas[2]", expected, beta3)?;
        }
        range::non_negative("alpha", self.alpha)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![
            Slot::moment("exp_avg"),
            Slot::moment("exp_avg_sq").unsigned(),
            Slot::moment("exp_avg_slow").exact(),
        ]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2, _) = self.betas;
        let alpha_steps = f64::from(self.alpha_warmup.unwrap_or(0).max(1));
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("alpha", self.alpha),
            ("alpha_rise", self.alpha / alpha_steps),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2, beta3) = self.betas;
        vec![
            ("ln_beta1", ln_beta(beta1)),
            ("ln_beta2", ln_beta(beta2)),
            ("one_minus_beta3", 1.0 - beta3),
            ("beta3_warmup", self.beta3_steps().into()),
            ("ln_beta1_rcp", 1.0 / ln_beta(beta1)),
            ("ln_beta3_rcp", 1.0 / ln_beta(beta3)),
        ]
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
