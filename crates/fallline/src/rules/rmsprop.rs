use fallline_shaders::{Source, rules::RMSPROP};

use super::{OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, momentum, range, weight_decay};
use crate::{Slot, TensorSpec};

/// RMSprop, centered or not, with momentum or without.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// v ← alpha · v + (1 - alpha) · g²
/// a ← lerp(a, g, 1 - alpha),  w ← max(v - a², 0)   if centered, else w ← v
/// d ← g / (√w + eps)
/// b ← momentum · b + d                             with momentum, else b ← d
/// p ← p - lr · b
/// ```
///
/// Source: Tieleman and Hinton, *Neural Networks for Machine Learning*, 2012, lecture 6.5; centered: Graves,
/// *Generating Sequences With Recurrent Neural Networks*, 2013; `torch.optim.RMSprop`. There rounding may
/// make v - a² negative where gradients are constant, and the parameter NaN; here it is then 0. An alpha
/// of 1 or more, which torch admits, is refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct RmsProp {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// The weight of the average, in [0, 1).
    pub alpha: f64,
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// μ, finite and >= 0.
    pub momentum: f64,
    /// Divide by the root of the variance, and not of the mean square.
    pub centered: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for RmsProp {
    /// torch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-2,
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

builders!(RmsProp {
    lr: f64,
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
    maximize: bool,
});

impl Rule for RmsProp {
    fn source(&self) -> Source {
        RMSPROP
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(momentum);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::beta("alpha", self.alpha)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        range::non_negative("momentum", self.momentum)
    }

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![("CENTERED", self.centered), ("MOMENTUM", self.momentum != 0.0)]
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        let mut slots = vec![Slot::moment("square_avg").unsigned()];
        slots.extend(self.centered.then_some(Slot::moment("grad_avg")));
        slots.extend((self.momentum != 0.0).then_some(Slot::moment("momentum_buffer")));
        slots
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("alpha", self.alpha),
            ("one_minus_alpha", 1.0 - self.alpha),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("momentum", self.momentum),
        ]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
