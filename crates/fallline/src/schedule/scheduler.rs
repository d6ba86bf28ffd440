use super::{AnySchedule, MetricState, Schedule, option};
use crate::{Error, Result};

/// A schedule on its way: the rates of each group for the next step, as torch's schedulers keep them.
///
/// Of most schedules it is a convenience: [`Schedule::lrs`] gives the same for any step. Those that go by a metric,
/// [`ReduceOnPlateau`](super::ReduceOnPlateau) and [`Greedy`](super::Greedy), need it, and in a
/// [`Chained`](super::Chained) it saves t steps. Its [state](Self::state) goes into checkpoints.
///
/// ```
/// use fallline::{Step, schedule::{ReduceOnPlateau, Scheduler}};
///
/// # fn train(optimizer: &mut fallline::Optimizer, evaluate: fn() -> f64) -> fallline::Result<()> {
/// let mut scheduler = Scheduler::new(ReduceOnPlateau::new(), [1e-3, 1e-4])?;
/// for epoch in 0..10 {
///     for batch in 0..100 {
///         optimizer.step(&Step::lr_per_group(scheduler.lrs()))?;
///         scheduler.step();
///     }
///     scheduler.observe(evaluate());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Scheduler {
    schedule: AnySchedule,
    base_lrs: Vec<f64>,
    state: SchedulerState,
}

/// Where a [`Scheduler`] is: what a checkpoint keeps of it, besides its schedule. To resume to the bit, its format must keep
/// an f64 as it is: `serde_json` does with its feature `float_roundtrip`.
///
/// ```
/// use fallline::schedule::{CosineAnnealing, Scheduler};
///
/// # fn main() -> fallline::Result<()> {
/// let mut scheduler = Scheduler::new(CosineAnnealing::new(10), [0.1])?;
/// scheduler.step();
/// let mut resumed = Scheduler::new(CosineAnnealing::new(10), [0.1])?;
/// resumed.load_state(scheduler.state().clone())?;
/// assert_eq!(resumed.lrs(), scheduler.lrs());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct SchedulerState {
    /// How many steps were taken.
    pub t: u64,
    /// The rates of the next, one for each group.
    pub lrs: Vec<f64>,
    /// What it keeps of metrics, if it goes by them.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub metric: Option<MetricState>,
}

impl Scheduler {
    /// Before the first step, for groups with these learning rates.
    ///
    /// # Errors
    /// [`Error::Schedule`] for an option out of its range, no group, or a rate that is none.
    pub fn new(schedule: impl Into<AnySchedule>, base_lrs: impl Into<Vec<f64>>) -> Result<Self> {
        let (schedule, base_lrs) = (schedule.into(), base_lrs.into());
        let kind = schedule.kind();
        option::ensure(!base_lrs.is_empty(), kind, "base_lrs", "one for each group", "none")?;
        for (group, lr) in base_lrs.iter().enumerate() {
            option::non_negative(kind, &format!("base_lrs[{group}]"), *lr)?;
        }
        schedule.check(&base_lrs)?;
        let metric = schedule.closed_form().is_none().then(MetricState::default);
        let lrs = schedule.closed_form().map_or(base_lrs.clone(), |form| form.lrs(&base_lrs, 0));
        Ok(Self { schedule, base_lrs, state: SchedulerState { t: 0, lrs, metric } })
    }

    /// The schedule.
    #[must_use]
    pub fn schedule(&self) -> &AnySchedule {
        &self.schedule
    }

    /// How many steps were taken.
    #[must_use]
    pub fn t(&self) -> u64 {
        self.state.t
    }

    /// The rates of the next step, for [`Step::lr_per_group`](crate::Step::lr_per_group).
    #[must_use]
    pub fn lrs(&self) -> &[f64] {
        &self.state.lrs
    }

    /// The momentum of a group in the next step, or its β1, if the schedule has one.
    #[must_use]
    pub fn momentum(&self, group: usize) -> Option<f64> {
        self.schedule.closed_form()?.momentum_of_group(group, self.state.t)
    }

    /// Goes on to the next step: to be called when one was recorded.
    pub fn step(&mut self) {
        self.state.t += 1;
        let (t, bases) = (self.state.t, &self.base_lrs);
        match &self.schedule {
            AnySchedule::Chained(chain) => {
                for (group, lr) in self.state.lrs.iter_mut().enumerate() {
                    *lr = chain.chained_lr(group, *lr, bases[group], t);
                }
            }
            schedule => {
                if let Some(schedule) = schedule.closed_form() {
                    self.state.lrs = schedule.lrs(bases, t);
                }
            }
        }
    }

    /// Takes a metric: a loss, say. Schedules that go by steps alone do not look at it.
    pub fn observe(&mut self, metric: f64) {
        let SchedulerState { lrs, metric: Some(state), .. } = &mut self.state else { return };
        match &self.schedule {
            AnySchedule::ReduceOnPlateau(schedule) => schedule.observe(metric, state, lrs),
            AnySchedule::Greedy(schedule) => {
                schedule.observe(metric, state, (&self.base_lrs, lrs));
            }
            _ => {}
        }
    }

    /// Where it is, for a checkpoint.
    #[must_use]
    pub fn state(&self) -> &SchedulerState {
        &self.state
    }

    /// Goes on from where another was that had the same schedule and groups. Rates that are a formula of the step follow
    /// this schedule, whatever those of the other were.
    ///
    /// # Errors
    /// [`Error::SchedulerState`] for a state of another number of groups, with rates that are none, with metrics
    /// where there are none or the other way round, or with a metric that is infinite or NaN. Nothing changes then.
    pub fn load_state(&mut self, state: SchedulerState) -> Result<()> {
        let wrong = |what: &'static str, expected: String, found: String| {
            Err(Error::SchedulerState { what, expected, found })
        };
        let groups = self.base_lrs.len();
        if state.lrs.len() != groups {
            let expected = format!("one for each group, {groups} in all");
            return wrong("lrs", expected, state.lrs.len().to_string());
        }
        if let Some(lr) = state.lrs.iter().find(|lr| !(lr.is_finite() && **lr >= 0.0)) {
            return wrong("lrs", "finite and >= 0".to_owned(), lr.to_string());
        }
        let kind = self.schedule.kind();
        match (&self.state.metric, &state.metric) {
            (None, Some(_)) => {
                return wrong("metric", format!("none, as of '{kind}'"), "one".to_owned());
            }
            (Some(_), None) => {
                return wrong("metric", format!("that of '{kind}'"), "none".to_owned());
            }
            _ => {}
        }
        let metrics =
            state.metric.iter().flat_map(|metric| metric.best.iter().chain(&metric.window));
        if let Some(metric) = metrics.into_iter().find(|metric| !metric.is_finite()) {
            return wrong("metric", "of finite numbers".to_owned(), metric.to_string());
        }
        self.state = state;
        if !matches!(self.schedule, AnySchedule::Chained(_))
            && let Some(schedule) = self.schedule.closed_form()
        {
            self.state.lrs = schedule.lrs(&self.base_lrs, self.state.t);
        }
        Ok(())
    }
}
