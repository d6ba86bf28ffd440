use super::{Schedule, option, refactored, step_decay::default_gamma};
use crate::Result;

/// A decay by `gamma` at each of some steps.
///
/// ```text
/// lr(t) = base · gamma^n          n: how many milestones are <= t; one that is given twice counts twice
/// ```
///
/// Source: `torch.optim.lr_scheduler.MultiStepLR`.
///
/// ```
/// use fallline::schedule::{MultiStep, Schedule};
///
/// let schedule = MultiStep::new([30, 80]).gamma(0.5);
/// assert_eq!(schedule.lr(0.1, 79), 0.05);
/// assert_eq!(schedule.lr(0.1, 80), 0.025);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct MultiStep {
    /// The steps, in any order.
    pub milestones: Vec<u64>,
    /// The factor of each, finite and >= 0. Default: 0.1.
    #[cfg_attr(feature = "serde", serde(default = "default_gamma"))]
    pub gamma: f64,
}

impl MultiStep {
    /// With torch's defaults.
    #[must_use]
    pub fn new(milestones: impl Into<Vec<u64>>) -> Self {
        Self { milestones: milestones.into(), gamma: default_gamma() }
    }

    fn factor(&self, t: u64) -> f64 {
        let passed = self.milestones.iter().filter(|milestone| **milestone <= t);
        self.gamma.powf(passed.count() as f64)
    }
}

crate::rules::setters!(MultiStep { gamma: f64 });

impl Schedule for MultiStep {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self.factor(t)
    }

    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        refactored(found, base, t, |t| self.factor(t))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        option::non_negative("multi_step", "gamma", self.gamma)
    }
}
