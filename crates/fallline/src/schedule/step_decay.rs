use super::{Schedule, option, refactored};
use crate::Result;

/// A decay by `gamma` every `step_size` steps.
///
/// ```text
/// lr(t) = base · gamma^⌊t / step_size⌋
/// ```
///
/// Source: `torch.optim.lr_scheduler.StepLR`.
///
/// ```
/// use fallline::schedule::{Schedule, StepDecay};
///
/// let schedule = StepDecay::new(30).gamma(0.5);
/// assert_eq!(schedule.lr(0.1, 29), 0.1);
/// assert_eq!(schedule.lr(0.1, 30), 0.05);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct StepDecay {
    /// Steps from one decay to the next, at least 1.
    pub step_size: u64,
    /// The factor of each, finite and >= 0. Default: 0.1.
    #[cfg_attr(feature = "serde", serde(default = "default_gamma"))]
    pub gamma: f64,
}

/// torch's.
pub(super) fn default_gamma() -> f64 {
    0.1
}

impl StepDecay {
    /// With torch's defaults.
    #[must_use]
    pub fn new(step_size: u64) -> Self {
        Self { step_size, gamma: default_gamma() }
    }

    fn factor(&self, t: u64) -> f64 {
        self.gamma.powf((t / self.step_size.max(1)) as f64)
    }
}

crate::rules::setters!(StepDecay { gamma: f64 });

impl Schedule for StepDecay {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self.factor(t)
    }

    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        refactored(found, base, t, |t| self.factor(t))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        option::at_least_1("step", "step_size", self.step_size)?;
        option::non_negative("step", "gamma", self.gamma)
    }
}
