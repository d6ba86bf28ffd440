use super::{AnySchedule, Schedule};
use crate::Result;

/// Several schedules at once: in each step each changes the rate that it finds.
///
/// ```text
/// lr(t) = s_n(t, … s_2(t, s_1(t, lr(t - 1))))
/// ```
///
/// Those that are a product with the base multiply what they find, so that all of them together are the product of their
/// factors. [`SwaLr`](super::SwaLr) goes on from what it finds. [`CosineAnnealing`](super::CosineAnnealing) goes by torch's
/// recursion, which after `T_max` steps magnifies whatever the others have changed, with an `eta_min` up to negative
/// rates, which no step takes. The others (closures, restarts, cycles, transformers') set their own rate whatever they
/// find.
///
/// A rate takes t steps to find; a [`Scheduler`](super::Scheduler) takes one for each.
///
/// Source: `torch.optim.lr_scheduler.ChainedScheduler`.
///
/// ```
/// use fallline::schedule::{Chained, Constant, Exponential, Schedule};
///
/// let warm_up = Constant::new().factor(0.1).total_iters(2);
/// let schedule = Chained::new(warm_up).with(Exponential::new(0.5));
/// assert_eq!(schedule.lr(1.0, 1), 0.05);
/// assert_eq!(schedule.lr(1.0, 2), 0.25);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Chained {
    /// The schedules in their order, none of which needs a metric.
    pub schedulers: Vec<AnySchedule>,
}

impl Chained {
    /// This one, and those that [`with`](Self::with) adds.
    #[must_use]
    pub fn new(first: impl Into<AnySchedule>) -> Self {
        Self { schedulers: vec![first.into()] }
    }

    /// This one too, after those that there are.
    #[must_use]
    pub fn with(mut self, next: impl Into<AnySchedule>) -> Self {
        self.schedulers.push(next.into());
        self
    }
}

impl Schedule for Chained {
    fn lr(&self, base: f64, t: u64) -> f64 {
        self.lr_of_group(0, base, t)
    }

    fn lr_of_group(&self, group: usize, base: f64, t: u64) -> f64 {
        (0..=t).fold(base, |found, t| self.chained_lr(group, found, base, t))
    }

    fn chained_lr(&self, group: usize, found: f64, base: f64, t: u64) -> f64 {
        let next = |found, schedule: &AnySchedule| match schedule.closed_form() {
            Some(schedule) => schedule.chained_lr(group, found, base, t),
            None => f64::NAN,
        };
        self.schedulers.iter().fold(found, next)
    }

    /// That of the last that has one.
    fn momentum_of_group(&self, group: usize, t: u64) -> Option<f64> {
        let momentum = |schedule: &AnySchedule| schedule.closed_form()?.momentum_of_group(group, t);
        self.schedulers.iter().rev().find_map(momentum)
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        super::any::check_all("chained", &self.schedulers, base_lrs)
    }
}
