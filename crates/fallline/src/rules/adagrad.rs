use fallline_shaders::{Source, rules::ADAGRAD};

use super::{OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, range, weight_decay};
use crate::{Slot, TensorSpec};

/// Adagrad: steps divided by the root of the sum of all squared gradients.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// sum ← sum + g²                                            initial_accumulator_value at first
/// p ← p - lr / (1 + (t - 1) · lr_decay) · g / (√sum + eps)
/// ```
///
/// The sum is kept in f32 in any format of the state: it does not decay, so that what rounding takes away of a new
/// square would be missed for good.
///
/// Source: Duchi, Hazan and Singer, *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization*,
/// 2011; `torch.optim.Adagrad`. There a group's own `initial_accumulator_value` is ignored for that of the
/// constructor; here it counts. And there t is an f32, so that the decay of the learning rate stands still at
/// 2^24 steps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adagrad {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// How fast the learning rate falls, finite and >= 0.
    pub lr_decay: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// The sum before the tensor's first step, finite and >= 0.
    pub initial_accumulator_value: f64,
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Adagrad {
    /// torch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-2,
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
            maximize: false,
        }
    }
}

builders!(Adagrad {
    lr: f64,
    lr_decay: f64,
    weight_decay: f64,
    initial_accumulator_value: f64,
    eps: f64,
    maximize: bool,
});

impl Rule for Adagrad {
    fn source(&self) -> Source {
        ADAGRAD
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::non_negative("lr_decay", self.lr_decay)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        range::non_negative("initial_accumulator_value", self.initial_accumulator_value)?;
        range::non_negative("eps", self.eps)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("sum").unsigned().exact()]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("initial_accumulator_value", self.initial_accumulator_value),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("lr_decay", self.lr_decay)]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
