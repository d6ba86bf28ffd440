use super::{Schedule, option, warmup};
use crate::Result;

/// A linear warm-up from 0, then a linear decay to 0.
///
/// ```text
/// lr(t) = base · t / w  for t < w,  base · max(0, (T - t) / (T - w)) after these
/// ```
///
/// w is `num_warmup_steps` and T `num_training_steps`.
///
/// Source: transformers' `get_linear_schedule_with_warmup`.
///
/// ```
/// use fallline::schedule::{LinearWithWarmup, Schedule};
///
/// let schedule = LinearWithWarmup::new(1000).num_warmup_steps(200);
/// assert_eq!(schedule.lr(0.1, 200), 0.1);
/// assert_eq!(schedule.lr(0.1, 600), 0.05);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct LinearWithWarmup {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// All steps, at least 1.
    pub num_training_steps: u64,
}

impl LinearWithWarmup {
    /// Without a warm-up.
    #[must_use]
    pub fn new(num_training_steps: u64) -> Self {
        Self { num_warmup_steps: 0, num_training_steps }
    }
}

crate::rules::setters!(LinearWithWarmup { num_warmup_steps: u64 });

impl Schedule for LinearWithWarmup {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let decay = || {
            let steps = self.num_training_steps.saturating_sub(self.num_warmup_steps).max(1);
            self.num_training_steps.saturating_sub(t) as f64 / steps as f64
        };
        base * warmup(t, self.num_warmup_steps).unwrap_or_else(decay)
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        let steps = self.num_training_steps;
        option::at_least_1("linear_schedule_with_warmup", "num_training_steps", steps)
    }
}
