use fallline_shaders::{Source, rules::PRODIGY};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, Scope, builders, ln_beta, momentum, narrow, range,
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// Prodigy: Adam that finds its learning rate.
///
/// ```text
/// g ← g + weight_decay · p                                     if the decay is not decoupled
/// dlr ← d · lr · (√(1 - β2^k) / (1 - β1^k), or 1)              with use_bias_correction, or without
/// m ← β1 · m + (1 - β1) · d · g,   v ← β2 · v + (1 - β2) · d² · g²
/// s ← β3 · s + d / d0 · (d with safeguard_warmup, else dlr) · g
/// numerator ← β3 · numerator + d / d0 · Σ dlr · g · (p0 - p)   over all elements of all tensors
/// d' ← d_coef · numerator / Σ |s|                              over all elements of all tensors
/// d ← max(d, d') as long as it is d0,   d_max ← max(d_max, d'),   d ← min(d_max, d · growth_rate)
/// p ← p - weight_decay · dlr · p  if decoupled,   p ← p - dlr · m / (√v + d · eps)     dlr with the old d
/// ```
///
/// d begins as d0, p0 is the parameter before the tensor's first step, and k counts the optimizer's steps. Where
/// Σ |s| is 0 the moments decay, and nothing else happens.
///
/// Source: Mishchenko and Defazio, *Prodigy: An Expeditiously Adaptive Parameter-Free Learner*, 2023;
/// prodigyopt 1.1.2. All tensors of all groups have one d: [joint](Slot::joint) slots `d`, `d_max`, `d_numerator`
/// and `k`. There, groups may differ in their learning rate only by one of 0, and such a group goes on moving; here a
/// learning rate of 0 freezes a tensor wholly. As long as d is tiny, p0 - p is close to the last bit of p, so that d
/// is known to some 1e-3 only, there as here. The state is read twice in a step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Prodigy {
    /// Factor of the learning rate that is found, finite and >= 0: a schedule, which begins with 1.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// β3, in [0, 1); `None`: √β2.
    pub beta3: Option<f64>,
    /// Added to the denominator times d, finite and > 0.
    pub eps: f64,
    /// Decay of the parameter, finite and >= 0.
    pub weight_decay: f64,
    /// Whether the weight decay is decoupled, as AdamW's.
    pub decouple: bool,
    /// Whether biases of the moments are corrected.
    pub use_bias_correction: bool,
    /// Whether the learning rate of a warm-up is kept out of s.
    pub safeguard_warmup: bool,
    /// The first d, finite and > 0.
    pub d0: f64,
    /// Factor of the estimate of d, finite and > 0.
    pub d_coef: f64,
    /// How fast d may grow in a step, above 1; infinity (in JSON `null`): as fast as it does.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "infinity_if_none"))]
    pub growth_rate: f64,
}

/// JSON has no infinity: what is written for it is `null`.
#[cfg(feature = "serde")]
fn infinity_if_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value: Option<f64> = serde::Deserialize::deserialize(deserializer)?;
    Ok(value.unwrap_or(f64::INFINITY))
}

impl Default for Prodigy {
    /// prodigyopt's defaults.
    fn default() -> Self {
        Self {
            lr: 1.0,
            betas: (0.9, 0.999),
            beta3: None,
            eps: 1e-8,
            weight_decay: 0.0,
            decouple: true,
            use_bias_correction: false,
            safeguard_warmup: false,
            d0: 1e-6,
            d_coef: 1.0,
            growth_rate: f64::INFINITY,
        }
    }
}

builders!(Prodigy {
    lr: f64,
    betas: (f64, f64),
    beta3: Option<f64>,
    eps: f64,
    weight_decay: f64,
    decouple: bool,
    use_bias_correction: bool,
    safeguard_warmup: bool,
    d0: f64,
    d_coef: f64,
    growth_rate: f64,
});

impl Prodigy {
    fn beta3_or_default(&self) -> f64 {
        self.beta3.unwrap_or_else(|| self.betas.1.sqrt())
    }
}

impl Rule for Prodigy {
    fn source(&self) -> Source {
        PRODIGY
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(betas.0);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::betas(self.betas)?;
        range::beta("beta3", self.beta3_or_default())?;
        range::positive("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        range::positive("d0", self.d0)?;
        range::positive("d_coef", self.d_coef)?;
        if self.growth_rate > 1.0 {
            return Ok(());
        }
        Err(OutOfRange { name: "growth_rate", expected: "> 1", found: self.growth_rate })
    }

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![
            ("USE_BIAS_CORRECTION", self.use_bias_correction),
            ("SAFEGUARD_WARMUP", self.safeguard_warmup),
        ]
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![
            Slot::moment("exp_avg"),
            Slot::moment("exp_avg_sq").unsigned(),
            Slot::moment("s").exact(),
            Slot::moment("p0").exact(),
            Slot::joint("d"),
            Slot::joint("d_max"),
            Slot::joint("d_numerator"),
            Slot::joint("k"),
        ]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("beta1", beta1),
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("beta3", self.beta3_or_default()),
            ("l2", if self.decouple { 0.0 } else { self.weight_decay }),
            ("weight_decay", if self.decouple { self.weight_decay } else { 0.0 }),
            ("eps", self.eps),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("ln_beta1", ln_beta(beta1)),
            ("ln_beta2", ln_beta(beta2)),
            ("beta3", self.beta3_or_default()),
            ("d0", self.d0),
            ("d_coef", self.d_coef),
            // Kernels know no infinity.
            ("growth_rate", narrow(self.growth_rate).min(1e30).into()),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Optimizer
    }

    fn has_decoupled_decay(&self) -> bool {
        self.decouple
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }
}
