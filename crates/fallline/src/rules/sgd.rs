use fallline_shaders::{Source, rules::SGD};

use super::{Check, Definition, hyper};
use crate::{Error, Result, Slot, abi};

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
#[derive(Clone, Copy, Debug, PartialEq)]
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

impl Definition for Sgd {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn check(&self, check: &Check<'_>) -> Result<()> {
        check.non_negative("lr", self.lr)?;
        check.non_negative("momentum", self.momentum)?;
        check.range("dampening", "finite", self.dampening, self.dampening.is_finite())?;
        check.non_negative("weight_decay", self.weight_decay)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let (name, expected, found) = if self.momentum == 0.0 {
                ("momentum", "> 0 with nesterov", self.momentum)
            } else {
                ("dampening", "0 with nesterov", self.dampening)
            };
            return Err(Error::Hyperparameter {
                group: check.group.to_owned(),
                name,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn source(&self) -> Source {
        SGD
    }

    fn switches(&self) -> Vec<(&'static str, bool)> {
        vec![("MOMENTUM", self.momentum != 0.0), ("NESTEROV", self.nesterov)]
    }

    fn slots(&self) -> &'static [Slot] {
        const MOMENTUM: &[Slot] = &[Slot::moment("momentum_buffer")];
        if self.momentum == 0.0 { &[] } else { MOMENTUM }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn hyper(&self) -> abi::Hyper {
        hyper([self.weight_decay, self.momentum, 1.0 - self.dampening])
    }
}
