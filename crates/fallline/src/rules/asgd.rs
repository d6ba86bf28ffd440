use fallline_shaders::{Source, rules::ASGD};

use super::{OutOfRange, Rule, adafactor::split, builders, range, weight_decay};
use crate::{Slot, TensorSpec};

/// ASGD: gradient descent with a falling learning rate, and the average of its iterates.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// p ← p · (1 - lambd · η) - η · g
/// ax ← p  if μ is 1, else  ax + (p - ax) · μ
/// η ← lr / (1 + lambd · lr · t)^alpha,   μ ← 1 / max(1, t - t0)         for the tensor's next step
/// ```
///
/// The parameter is the last iterate: the average, which is the point of the method, is read as the state slot `ax`
/// ([`Optimizer::read_state`](crate::Optimizer::read_state)). It is f32 in any format of the state, and beside
/// parameters of 16 bits it is of the parameter before that is rounded. Before step t0 + 2 it is a copy, and from then
/// on the mean of the iterates since. (Where a group steers directions, by caution or a limit, each iterate counts as
/// its step would have left it without.) η and μ are [slots](Slot::scalar) of each tensor.
///
/// In the tensor's first step η is the learning rate of that step; later ones act one step late, as in torch: a step
/// moves by what was left by the one before.
///
/// Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992; Bottou, *Large-Scale
/// Machine Learning with Stochastic Gradient Descent*, 2010; `torch.optim.ASGD`. There t is an f32, so that η and μ stand
/// still at 2^24 steps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Asgd {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// λ: decay of the parameter and, with alpha, of the learning rate; finite and >= 0.
    pub lambd: f64,
    /// The power with which the learning rate falls, in [0, 5].
    pub alpha: f64,
    /// The number of steps of a tensor from which on iterates are averaged, finite.
    pub t0: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Asgd {
    /// torch's defaults.
    fn default() -> Self {
        Self { lr: 1e-2, lambd: 1e-4, alpha: 0.75, t0: 1e6, weight_decay: 0.0, maximize: false }
    }
}

builders!(Asgd { lr: f64, lambd: f64, alpha: f64, t0: f64, weight_decay: f64, maximize: bool });

impl Rule for Asgd {
    fn source(&self) -> Source {
        ASGD
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::non_negative("lambd", self.lambd)?;
        let is_power = (0.0..=5.0).contains(&self.alpha);
        range::check(is_power, "alpha", "in [0, 5]", self.alpha)?;
        range::check(self.t0.is_finite(), "t0", "finite", self.t0)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("ax").exact(), Slot::scalar("eta"), Slot::scalar("mu")]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("weight_decay", self.weight_decay)]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (high, low) = split(-self.alpha);
        // Steps beyond what a counter reaches are alike.
        let t0 = self.t0.clamp(-1e10, 1e10);
        vec![
            ("lambd", self.lambd),
            ("exponent_high", high),
            ("exponent_low", low),
            ("t0_whole", t0.floor()),
            ("t0_rest", t0 - t0.floor()),
        ]
    }

    fn moves_state(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
