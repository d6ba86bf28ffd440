use super::{AnySchedule, Schedule, option};
use crate::Result;

/// One schedule after the other.
///
/// ```text
/// lr(t) = lr_i(t - m_i)       m_i: the last milestone that is <= t, or 0;  i: how many are
/// ```
///
/// Each counts its steps from its milestone on, and begins with the group's base, but for those that
/// [continue](Schedule::continues).
///
/// Source: `torch.optim.lr_scheduler.SequentialLR`, but that a [`Multiplicative`](super::Multiplicative) begins with the
/// base, and that a [`OneCycle`](super::OneCycle) leaves the others' base as it is.
///
/// ```
/// use fallline::schedule::{CosineAnnealing, Linear, Schedule, Sequential};
///
/// let warm_up = Linear::new().start_factor(0.1).total_iters(10);
/// let schedule = Sequential::new(warm_up).then(10, CosineAnnealing::new(90));
/// assert_eq!(schedule.lr(1.0, 0), 0.1);
/// assert_eq!(schedule.lr(1.0, 10), 1.0);
/// assert_eq!(schedule.lr(1.0, 100), 0.0);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Sequential {
    /// The schedules, none of which needs a metric.
    pub schedulers: Vec<AnySchedule>,
    /// The first step of each but the first, in ascending order.
    pub milestones: Vec<u64>,
}

impl Sequential {
    /// This one at first.
    #[must_use]
    pub fn new(first: impl Into<AnySchedule>) -> Self {
        Self { schedulers: vec![first.into()], milestones: Vec::new() }
    }

    /// This one from a step on.
    #[must_use]
    pub fn then(mut self, milestone: u64, next: impl Into<AnySchedule>) -> Self {
        self.milestones.push(milestone);
        self.schedulers.push(next.into());
        self
    }

    /// Which schedule step `t` is of, and where that begins.
    fn active(&self, t: u64) -> (Option<&dyn Schedule>, u64) {
        let index = self.milestones.partition_point(|milestone| *milestone <= t);
        let start = index.checked_sub(1).map_or(0, |before| self.milestones[before]);
        (self.schedulers.get(index).and_then(AnySchedule::closed_form), start)
    }

    /// What a schedule that begins at this step calls its base.
    fn base(&self, schedule: &dyn Schedule, group: usize, base: f64, start: u64) -> f64 {
        match start.checked_sub(1) {
            Some(before) if schedule.continues() => self.lr_of_group(group, base, before),
            _ => base,
        }
    }
}

impl Schedule for Sequential {
    fn lr(&self, base: f64, t: u64) -> f64 {
        self.lr_of_group(0, base, t)
    }

    fn lr_of_group(&self, group: usize, base: f64, t: u64) -> f64 {
        let (Some(schedule), start) = self.active(t) else { return f64::NAN };
        schedule.lr_of_group(group, self.base(schedule, group, base, start), t - start)
    }

    fn chained_lr(&self, group: usize, found: f64, base: f64, t: u64) -> f64 {
        match self.active(t) {
            (None, _) => f64::NAN,
            (Some(schedule), start) if t == start && !schedule.continues() && t > 0 => {
                schedule.lr_of_group(group, base, 0)
            }
            (Some(schedule), start) => schedule.chained_lr(group, found, base, t - start),
        }
    }

    fn momentum_of_group(&self, group: usize, t: u64) -> Option<f64> {
        let (schedule, start) = self.active(t);
        schedule?.momentum_of_group(group, t - start)
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "sequential";
        super::any::check_all(KIND, &self.schedulers, base_lrs)?;
        let (expected, found) = (self.schedulers.len() - 1, self.milestones.len());
        let expected_len = || format!("one fewer than schedulers, {expected}");
        option::ensure(found == expected, KIND, "milestones", expected_len(), found)?;
        let ascends = self.milestones.is_sorted();
        let found = || format!("{:?}", self.milestones);
        option::ensure(ascends, KIND, "milestones", "in ascending order", found())
    }
}
