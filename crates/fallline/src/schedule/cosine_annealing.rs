use std::f64::consts::PI;

use super::{Schedule, option};
use crate::Result;

/// Half a cosine from the base to `eta_min`, and back: after `T_max` steps the rate rises again, with the period
/// 2 · `T_max`.
///
/// ```text
/// lr(t) = eta_min + (base - eta_min) · (1 + cos(π · t / T_max)) / 2
/// ```
///
/// Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, 2017, without the restarts;
/// `torch.optim.lr_scheduler.CosineAnnealingLR`.
///
/// ```
/// use fallline::schedule::{CosineAnnealing, Schedule};
///
/// let schedule = CosineAnnealing::new(100).eta_min(1e-5);
/// assert_eq!(schedule.lr(0.1, 0), 0.1);
/// assert_eq!(schedule.lr(0.1, 100), 1e-5);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CosineAnnealing {
    /// Steps down to `eta_min`, at least 1.
    #[cfg_attr(feature = "serde", serde(rename = "T_max", alias = "t_max"))]
    pub t_max: u64,
    /// The lowest rate, of any group; finite and >= 0. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub eta_min: f64,
}

impl CosineAnnealing {
    /// With torch's defaults.
    #[must_use]
    pub fn new(t_max: u64) -> Self {
        Self { t_max, eta_min: 0.0 }
    }
}

crate::rules::setters!(CosineAnnealing { eta_min: f64 });

impl Schedule for CosineAnnealing {
    fn lr(&self, base: f64, t: u64) -> f64 {
        // One period, so that no step is too large for the cosine.
        let in_period = t % self.t_max.saturating_mul(2).max(1);
        self.eta_min + (base - self.eta_min) * (1.0 + self.cosine(in_period)) / 2.0
    }

    /// torch's recursion: with `eta_min`, or after `T_max` steps, it is not a product with a factor.
    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        let (eta_min, t_max) = (self.eta_min, self.t_max.max(1));
        let Some(before) = t.checked_sub(1) else { return found };
        if before >= t_max && (before - t_max).is_multiple_of(t_max.saturating_mul(2)) {
            return found + (base - eta_min) * (1.0 - self.cosine(1)) / 2.0;
        }
        (1.0 + self.cosine(t)) / (1.0 + self.cosine(before)) * (found - eta_min) + eta_min
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        option::at_least_1("cosine_annealing", "T_max", self.t_max)?;
        option::non_negative("cosine_annealing", "eta_min", self.eta_min)
    }
}

impl CosineAnnealing {
    fn cosine(&self, t: u64) -> f64 {
        (PI * t as f64 / self.t_max as f64).cos()
    }
}
