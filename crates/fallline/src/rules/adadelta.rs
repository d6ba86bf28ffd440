use fallline_shaders::{Source, rules::ADADELTA};

use super::{OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, range, weight_decay};
use crate::{Slot, TensorSpec};

/// Adadelta: steps as large as earlier ones, by their root mean square, and without a learning rate to choose.
///
/// ```text
/// g ← (-1 if maximize) · g + weight_decay · p
/// s ← rho · s + (1 - rho) · g²
/// Δ ← √(a + eps) / √(s + eps) · g
/// a ← rho · a + (1 - rho) · Δ²
/// p ← p - lr · Δ
/// ```
///
/// Source: Zeiler, *ADADELTA: An Adaptive Learning Rate Method*, 2012; `torch.optim.Adadelta`. eps sets the size of the
/// first steps, √eps / √(1 - rho) at most; an eps of 0, which torch admits and with which nothing ever moves, is
/// refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adadelta {
    /// Factor of the steps, finite and >= 0.
    pub lr: f64,
    /// The weight of both averages, in [0, 1).
    pub rho: f64,
    /// Added under both roots, finite and > 0.
    pub eps: f64,
    /// L2 penalty, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Adadelta {
    /// torch's defaults.
    fn default() -> Self {
        Self { lr: 1.0, rho: 0.9, eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

builders!(Adadelta { lr: f64, rho: f64, eps: f64, weight_decay: f64, maximize: bool });

impl Rule for Adadelta {
    fn source(&self) -> Source {
        ADADELTA
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::beta("rho", self.rho)?;
        range::positive("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("square_avg").unsigned(), Slot::moment("acc_delta").unsigned()]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("rho", self.rho),
            ("one_minus_rho", 1.0 - self.rho),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
