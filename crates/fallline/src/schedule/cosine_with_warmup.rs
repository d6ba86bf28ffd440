use std::f64::consts::PI;

use super::{Schedule, option, part, warmup};
use crate::Result;

/// A linear warm-up from 0, then a cosine.
///
/// ```text
/// lr(t) = base · t / w  for t < w,  base · (1 + cos(2π · num_cycles · min(1, (t - w) / (T - w)))) / 2 after these
/// ```
///
/// w is `num_warmup_steps` and T `num_training_steps`. With the default half cycle it ends at 0 and stays there.
/// (transformers' rises again after T.)
///
/// Source: transformers' `get_cosine_schedule_with_warmup`.
///
/// ```
/// use fallline::schedule::{CosineWithWarmup, Schedule};
///
/// let schedule = CosineWithWarmup::new(1000).num_warmup_steps(100);
/// assert_eq!(schedule.lr(0.1, 100), 0.1);
/// assert_eq!(schedule.lr(0.1, 1000), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CosineWithWarmup {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// All steps, at least 1.
    pub num_training_steps: u64,
    /// Waves of the cosine, finite and >= 0. Default: 1/2.
    #[cfg_attr(feature = "serde", serde(default = "default_num_cycles"))]
    pub num_cycles: f64,
}

/// transformers'.
pub(super) fn default_num_cycles() -> f64 {
    0.5
}

/// (1 + cos) / 2 after a part of some waves.
pub(super) fn wave(num_cycles: f64, part: f64) -> f64 {
    (1.0 + (2.0 * PI * num_cycles * part).cos()) / 2.0
}

impl CosineWithWarmup {
    /// Without a warm-up, and with transformers' defaults.
    #[must_use]
    pub fn new(num_training_steps: u64) -> Self {
        Self { num_warmup_steps: 0, num_training_steps, num_cycles: default_num_cycles() }
    }
}

crate::rules::setters!(CosineWithWarmup { num_warmup_steps: u64, num_cycles: f64 });

impl Schedule for CosineWithWarmup {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let Self { num_warmup_steps: w, num_training_steps, num_cycles } = *self;
        let decay = || wave(num_cycles, part(t - w, num_training_steps.saturating_sub(w)));
        base * warmup(t, w).unwrap_or_else(decay)
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        const KIND: &str = "cosine_schedule_with_warmup";
        option::at_least_1(KIND, "num_training_steps", self.num_training_steps)?;
        option::non_negative(KIND, "num_cycles", self.num_cycles)
    }
}
