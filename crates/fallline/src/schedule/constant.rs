use super::{Schedule, option, refactored};
use crate::Result;

/// A factor for the first steps.
///
/// ```text
/// lr(t) = base · factor  for t < total_iters,  base after these
/// ```
///
/// Source: `torch.optim.lr_scheduler.ConstantLR`, which divides by a `factor` of 0 when it restores the rate, and never
/// restores it where `total_iters` is 0. Here either has the value of the formula.
///
/// ```
/// use fallline::schedule::{Constant, Schedule};
///
/// let schedule = Constant::new().factor(0.5).total_iters(4);
/// assert_eq!(schedule.lr(0.1, 3), 0.05);
/// assert_eq!(schedule.lr(0.1, 4), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Constant {
    /// The factor, in [0, 1]. Default: 1/3.
    pub factor: f64,
    /// For how many steps. Default: 5.
    pub total_iters: u64,
}

impl Default for Constant {
    fn default() -> Self {
        Self { factor: 1.0 / 3.0, total_iters: 5 }
    }
}

crate::rules::builders!(Constant { factor: f64, total_iters: u64 });

impl Constant {
    fn factor_at(&self, t: u64) -> f64 {
        if t < self.total_iters { self.factor } else { 1.0 }
    }
}

impl Schedule for Constant {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self.factor_at(t)
    }

    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        refactored(found, base, t, |t| self.factor_at(t))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        option::unit("constant", "factor", self.factor)
    }
}
