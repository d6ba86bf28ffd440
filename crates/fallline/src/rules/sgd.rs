use fallline_shaders::{Source, rules::SGD};

use super::{OutOfRange, Rule, builders, momentum, range, weight_decay};
use crate::{Slot, TensorSpec};

/// SGD with momentum, dampening and Nesterov momentum, in torch's order of operations.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// b ← g in the tensor's first step, afterwards  momentum · b + (1 - dampening) · g
/// p ← p - lr · (g + momentum · b  if nesterov, else b)
/// ```
/// Without momentum there is no buffer: `p ← p - lr · g`.
///
/// Source: Sutskever et al., *On the importance of initialization and momentum in deep learning*,
/// 2013; `torch.optim.SGD`. A step without gradient leaves the buffer unset, so the next one is
/// still the tensor's first. `maximize` turns the sign of the gradient and not of the weight decay.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Sgd {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// μ, finite and >= 0.
    pub momentum: f64,
    /// How much of the gradient the momentum leaves out.
    pub dampening: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// Nesterov momentum; needs momentum > 0 and dampening 0.
    pub nesterov: bool,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Sgd {
    /// torch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
        }
    }
}

builders!(Sgd {
    lr: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
});

impl Rule for Sgd {
    fn source(&self) -> Source {
        SGD
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(momentum);

    fn check(&self) -> Result<(), OutOfRange> {
        let Self { momentum, dampening, nesterov, .. } = *self;
        range::non_negative("lr", self.lr)?;
        range::non_negative("momentum", momentum)?;
        range::check(dampening.is_finite(), "dampening", "finite", dampening)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        let has_momentum = !nesterov || momentum > 0.0;
        range::check(has_momentum, "momentum", "> 0 with nesterov", momentum)?;
        let undamped = !nesterov || dampening == 0.0;
        range::check(undamped, "dampening", "0 with nesterov", dampening)
    }

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![("MOMENTUM", self.momentum != 0.0), ("NESTEROV", self.nesterov)]
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        let has_momentum = self.momentum != 0.0;
        has_momentum.then_some(Slot::moment("momentum_buffer")).into_iter().collect()
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("weight_decay", self.weight_decay),
            ("momentum", self.momentum),
            ("one_minus_dampening", 1.0 - self.dampening),
        ]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
