use super::{Schedule, option, part, refactored};
use crate::Result;

/// A polynomial decay to 0.
///
/// ```text
/// lr(t) = base · (1 - min(t, total_iters) / total_iters)^power
/// ```
///
/// Source: `torch.optim.lr_scheduler.PolynomialLR`.
///
/// ```
/// use fallline::schedule::{Polynomial, Schedule};
///
/// let schedule = Polynomial::new(4).power(2.0);
/// assert_eq!(schedule.lr(1.0, 2), 0.25);
/// assert_eq!(schedule.lr(1.0, 9), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Polynomial {
    /// How many steps it takes, at least 1. Default: 5.
    pub total_iters: u64,
    /// The power, finite and > 0. Default: 1.
    pub power: f64,
}

impl Default for Polynomial {
    fn default() -> Self {
        Self::new(5)
    }
}

impl Polynomial {
    /// With torch's defaults.
    #[must_use]
    pub fn new(total_iters: u64) -> Self {
        Self { total_iters, power: 1.0 }
    }

    fn factor(&self, t: u64) -> f64 {
        (1.0 - part(t, self.total_iters)).powf(self.power)
    }
}

crate::rules::setters!(Polynomial { power: f64 });

impl Schedule for Polynomial {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self.factor(t)
    }

    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        refactored(found, base, t, |t| self.factor(t))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        option::at_least_1("polynomial", "total_iters", self.total_iters)?;
        option::positive("polynomial", "power", self.power)
    }
}
