use super::{Schedule, option, refactored};
use crate::Result;

/// A decay by `gamma` in every step.
///
/// ```text
/// lr(t) = base · gamma^t
/// ```
///
/// Source: `torch.optim.lr_scheduler.ExponentialLR`.
///
/// ```
/// use fallline::schedule::{Exponential, Schedule};
///
/// assert_eq!(Exponential::new(0.5).lr(0.1, 2), 0.025);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Exponential {
    /// The factor of each step, finite and >= 0.
    pub gamma: f64,
}

impl Exponential {
    /// With this factor.
    #[must_use]
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }

    fn factor(&self, t: u64) -> f64 {
        self.gamma.powf(t as f64)
    }
}

impl Schedule for Exponential {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self.factor(t)
    }

    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        refactored(found, base, t, |t| self.factor(t))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        option::non_negative("exponential", "gamma", self.gamma)
    }
}
