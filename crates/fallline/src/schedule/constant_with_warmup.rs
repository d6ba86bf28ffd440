use super::{Schedule, warmup};

/// A linear warm-up from 0, then the base.
///
/// ```text
/// lr(t) = base · min(1, t / num_warmup_steps)
/// ```
///
/// As in all of transformers' schedules, the rate of the first step is 0 where there is a warm-up: it fills the state.
///
/// Source: transformers' `get_constant_schedule_with_warmup`; `get_constant_schedule`, without a warm-up.
///
/// ```
/// use fallline::schedule::{ConstantWithWarmup, Schedule};
///
/// let schedule = ConstantWithWarmup::new(100);
/// assert_eq!(schedule.lr(0.1, 50), 0.05);
/// assert_eq!(schedule.lr(0.1, 100), 0.1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ConstantWithWarmup {
    /// Steps of the warm-up. Default: 0.
    pub num_warmup_steps: u64,
}

impl ConstantWithWarmup {
    /// With a warm-up of these steps.
    #[must_use]
    pub fn new(num_warmup_steps: u64) -> Self {
        Self { num_warmup_steps }
    }
}

impl Schedule for ConstantWithWarmup {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * warmup(t, self.num_warmup_steps).unwrap_or(1.0)
    }
}
