use super::{Schedule, option, part, warmup};
use crate::Result;

/// A linear warm-up from 0, then a polynomial decay to `lr_end`.
///
/// ```text
/// lr(t) = base · t / w  for t < w,  lr_end + (base - lr_end) · (1 - min(1, (t - w) / (T - w)))^power after these
/// ```
///
/// w is `num_warmup_steps` and T `num_training_steps`.
///
/// Source: transformers' `get_polynomial_decay_schedule_with_warmup`, which divides `lr_end` by the optimizer's default
/// rate, so that groups with another end at another.
///
/// ```
/// use fallline::schedule::{PolynomialDecayWithWarmup, Schedule};
///
/// let schedule = PolynomialDecayWithWarmup::new(1000).power(2.0).lr_end(0.0);
/// assert_eq!(schedule.lr(0.1, 500), 0.025);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct PolynomialDecayWithWarmup {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// All steps, at least 1.
    pub num_training_steps: u64,
    /// The last rate, of any group; at most the base of each. Default: 1e-7.
    #[cfg_attr(feature = "serde", serde(default = "default_lr_end"))]
    pub lr_end: f64,
    /// The power, finite and > 0. Default: 1.
    #[cfg_attr(feature = "serde", serde(default = "default_power"))]
    pub power: f64,
}

/// transformers'.
fn default_lr_end() -> f64 {
    1e-7
}

/// transformers'.
fn default_power() -> f64 {
    1.0
}

impl PolynomialDecayWithWarmup {
    /// Without a warm-up, and with transformers' defaults.
    #[must_use]
    pub fn new(num_training_steps: u64) -> Self {
        let (lr_end, power) = (default_lr_end(), default_power());
        Self { num_warmup_steps: 0, num_training_steps, lr_end, power }
    }
}

crate::rules::setters!(PolynomialDecayWithWarmup {
    num_warmup_steps: u64,
    lr_end: f64,
    power: f64,
});

impl Schedule for PolynomialDecayWithWarmup {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let Self { num_warmup_steps: w, num_training_steps, lr_end, power } = *self;
        if let Some(factor) = warmup(t, w) {
            return base * factor;
        }
        let left = 1.0 - part(t - w, num_training_steps.saturating_sub(w));
        lr_end + (base - lr_end) * left.powf(power)
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "polynomial_decay_schedule_with_warmup";
        option::at_least_1(KIND, "num_training_steps", self.num_training_steps)?;
        option::non_negative(KIND, "lr_end", self.lr_end)?;
        option::at_most_bases(KIND, "lr_end", self.lr_end, base_lrs)?;
        option::positive(KIND, "power", self.power)
    }
}
