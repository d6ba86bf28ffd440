use super::{Schedule, option, warmup};
use crate::Result;

/// A linear warm-up from 0, then a decay with the inverse square root of the step.
///
/// ```text
/// lr(t) = base · t / w  for t < w,  base · √(timescale / (t + timescale - w)) after these
/// ```
///
/// w is `num_warmup_steps`.
///
/// Source: Vaswani et al., *Attention Is All You Need*, 2017, section 5.3, known as Noam, whose highest rate is
/// d_model^-0.5 · w^-0.5 and here is the base; transformers' `get_inverse_sqrt_schedule`.
///
/// ```
/// use fallline::schedule::{InverseSqrt, Schedule};
///
/// let schedule = InverseSqrt::new(100);
/// assert_eq!(schedule.lr(0.1, 50), 0.05);
/// assert_eq!(schedule.lr(0.1, 400), 0.05);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct InverseSqrt {
    /// Steps of the warm-up. Default: 0.
    pub num_warmup_steps: u64,
    /// After how many steps the rate is √½ of the base, at least 1. Default: as many as the warm-up has, or 10,000 if it
    /// has none.
    pub timescale: Option<u64>,
}

impl InverseSqrt {
    /// With a warm-up of these steps, and transformers' defaults.
    #[must_use]
    pub fn new(num_warmup_steps: u64) -> Self {
        Self { num_warmup_steps, timescale: None }
    }

    /// Sets [`timescale`](Self#structfield.timescale).
    #[must_use]
    pub fn timescale(mut self, timescale: u64) -> Self {
        self.timescale = Some(timescale);
        self
    }
}

impl Schedule for InverseSqrt {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let w = self.num_warmup_steps;
        let default = if w == 0 { 10_000 } else { w };
        let timescale = self.timescale.unwrap_or(default) as f64;
        let decay = || ((t - w) as f64 / timescale + 1.0).sqrt().recip();
        base * warmup(t, w).unwrap_or_else(decay)
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        let timescale = self.timescale.unwrap_or(1);
        option::at_least_1("inverse_sqrt_schedule", "timescale", timescale)
    }
}
