use super::{Schedule, option, part, refactored};
use crate::Result;

/// A factor that changes linearly: a warm-up, as it is by default, or a decay.
///
/// ```text
/// lr(t) = base · (start_factor + (end_factor - start_factor) · min(t, total_iters) / total_iters)
/// ```
///
/// With `total_iters` 0, where torch divides by it, it is at its end from the first step on.
///
/// Source: `torch.optim.lr_scheduler.LinearLR`.
///
/// ```
/// use fallline::schedule::{Linear, Schedule};
///
/// let schedule = Linear::new().start_factor(0.5).total_iters(4);
/// assert_eq!(schedule.lr(0.1, 2), 0.1 * 0.75);
/// assert_eq!(schedule.lr(0.1, 4), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Linear {
    /// The factor of the first step, in (0, 1]. Default: 1/3.
    pub start_factor: f64,
    /// The factor from step `total_iters` on, in [0, 1]. Default: 1.
    pub end_factor: f64,
    /// How many steps it takes. Default: 5.
    pub total_iters: u64,
}

impl Default for Linear {
    fn default() -> Self {
        Self { start_factor: 1.0 / 3.0, end_factor: 1.0, total_iters: 5 }
    }
}

crate::rules::builders!(Linear { start_factor: f64, end_factor: f64, total_iters: u64 });

impl Linear {
    fn factor(&self, t: u64) -> f64 {
        let Self { start_factor: start, end_factor: end, total_iters } = *self;
        start + (end - start) * part(t, total_iters)
    }
}

impl Schedule for Linear {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self.factor(t)
    }

    fn chained_lr(&self, _: usize, found: f64, base: f64, t: u64) -> f64 {
        refactored(found, base, t, |t| self.factor(t))
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        let start = self.start_factor;
        let ok = start > 0.0 && start <= 1.0;
        option::ensure(ok, "linear", "start_factor", "in (0, 1]", start)?;
        option::unit("linear", "end_factor", self.end_factor)
    }
}
