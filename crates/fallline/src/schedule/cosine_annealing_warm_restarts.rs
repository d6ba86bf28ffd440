use std::f64::consts::PI;

use super::{Schedule, option};
use crate::Result;

/// Half a cosine from the base to `eta_min`, again and again, each `T_mult` times as long as the one before.
///
/// ```text
/// lr(t) = eta_min + (base - eta_min) · (1 + cos(π · T_cur / T_i)) / 2
/// ```
///
/// T_i is the length of the cycle, `T_0` at first, and T_cur counts its steps.
///
/// Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, 2017, equation 5;
/// `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`. Its `step(epoch)` finds the cycle by a logarithm in floating
/// point, and gives `eta_min` at some restarts (`T_0` 10, `T_mult` 3, epoch 1,210); integers give the base at all.
///
/// ```
/// use fallline::schedule::{CosineAnnealingWarmRestarts, Schedule};
///
/// let schedule = CosineAnnealingWarmRestarts::new(10).t_mult(2);
/// assert_eq!(schedule.lr(0.1, 10), 0.1);
/// assert_eq!(schedule.lr(0.1, 20), 0.05);
/// assert_eq!(schedule.lr(0.1, 30), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CosineAnnealingWarmRestarts {
    /// Steps of the first cycle, at least 1.
    #[cfg_attr(feature = "serde", serde(rename = "T_0", alias = "t_0"))]
    pub t_0: u64,
    /// What the length of a cycle is multiplied by for the next, at least 1. Default: 1.
    #[cfg_attr(feature = "serde", serde(rename = "T_mult", alias = "t_mult", default = "one"))]
    pub t_mult: u64,
    /// The lowest rate, of any group; finite and >= 0. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub eta_min: f64,
}

#[cfg(feature = "serde")]
fn one() -> u64 {
    1
}

impl CosineAnnealingWarmRestarts {
    /// With torch's defaults.
    #[must_use]
    pub fn new(t_0: u64) -> Self {
        Self { t_0, t_mult: 1, eta_min: 0.0 }
    }

    /// How many steps of its cycle were before step `t`, and how many the cycle has.
    fn place(&self, t: u64) -> (u64, u64) {
        let (mut t_cur, mut t_i) = (t, self.t_0.max(1));
        if self.t_mult <= 1 {
            return (t_cur % t_i, t_i);
        }
        while t_cur >= t_i {
            t_cur -= t_i;
            t_i = t_i.saturating_mul(self.t_mult);
        }
        (t_cur, t_i)
    }
}

crate::rules::setters!(CosineAnnealingWarmRestarts { t_mult: u64, eta_min: f64 });

impl Schedule for CosineAnnealingWarmRestarts {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let (t_cur, t_i) = self.place(t);
        let cosine = (PI * t_cur as f64 / t_i as f64).cos();
        self.eta_min + (base - self.eta_min) * (1.0 + cosine) / 2.0
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        const KIND: &str = "cosine_annealing_warm_restarts";
        option::at_least_1(KIND, "T_0", self.t_0)?;
        option::at_least_1(KIND, "T_mult", self.t_mult)?;
        option::non_negative(KIND, "eta_min", self.eta_min)
    }
}
