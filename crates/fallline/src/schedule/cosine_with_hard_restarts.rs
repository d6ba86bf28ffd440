use std::f64::consts::PI;

use super::{Schedule, option, warmup};
use crate::Result;

/// A linear warm-up from 0, then half cosines to 0 that begin at the base each, then 0.
///
/// ```text
/// lr(t) = base · t / w  for t < w,  0 from T on,  between these
/// lr(t) = base · (1 + cos(π · (num_cycles · (t - w) / (T - w) mod 1))) / 2
/// ```
///
/// w is `num_warmup_steps` and T `num_training_steps`.
///
/// Source: transformers' `get_cosine_with_hard_restarts_schedule_with_warmup`, which takes the remainder of a rounded
/// quotient, and so gives 0 instead of the base at some restarts (49 cycles in 98 steps, step 2); integers give the base.
///
/// ```
/// use fallline::schedule::{CosineWithHardRestarts, Schedule};
///
/// let schedule = CosineWithHardRestarts::new(1000).num_cycles(4);
/// assert_eq!(schedule.lr(0.1, 250), 0.1);
/// assert_eq!(schedule.lr(0.1, 1000), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CosineWithHardRestarts {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// All steps, at least 1.
    pub num_training_steps: u64,
    /// How many half cosines, at least 1. Default: 1.
    #[cfg_attr(feature = "serde", serde(default = "default_num_cycles"))]
    pub num_cycles: u64,
}

/// transformers'.
fn default_num_cycles() -> u64 {
    1
}

impl CosineWithHardRestarts {
    /// Without a warm-up, and with transformers' defaults.
    #[must_use]
    pub fn new(num_training_steps: u64) -> Self {
        Self { num_warmup_steps: 0, num_training_steps, num_cycles: default_num_cycles() }
    }
}

crate::rules::setters!(CosineWithHardRestarts { num_warmup_steps: u64, num_cycles: u64 });

impl Schedule for CosineWithHardRestarts {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let Self { num_warmup_steps: w, num_training_steps, num_cycles } = *self;
        let decay = || {
            let steps = u128::from(num_training_steps.saturating_sub(w).max(1));
            let step = u128::from(t - w);
            if step >= steps {
                return 0.0;
            }
            let in_cycle = step * u128::from(num_cycles) % steps;
            (1.0 + (PI * (in_cycle as f64 / steps as f64)).cos()) / 2.0
        };
        base * warmup(t, w).unwrap_or_else(decay)
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        const KIND: &str = "cosine_with_hard_restarts_schedule_with_warmup";
        option::at_least_1(KIND, "num_training_steps", self.num_training_steps)?;
        option::at_least_1(KIND, "num_cycles", self.num_cycles)
    }
}
