use super::{MetricMode, MetricState, PerGroup, ThresholdMode, option};
use crate::Result;

/// Up after some metrics in a row that became better, down after some that did not.
///
/// ```text
/// better: metric < best - threshold               (or < best - threshold · |best|; with `max`, > best + …)
/// lr ← min(lr / factor, max_lr)  after more than `patience` better ones; then `warmup` are not counted
/// lr ← max(lr · factor, min_lr)  after more than `patience` others; then `cooldown` are not counted
/// ```
///
/// Changes of `eps` or less are not made. After `reset_start` decreases that found all groups at their lowest rate, with
/// no increase between, it begins anew with the base.
///
/// A metric is what [`Scheduler::observe`](super::Scheduler::observe) is given. With `smooth` it is averaged with those
/// before. One that is not finite is not better, and is in no average. (In transformers' it stays in all averages to
/// come.)
///
/// Source: transformers' `GreedyLR`, `get_greedy_schedule`, whose relative threshold is best · (1 - threshold): of negative
/// metrics it takes worse ones for better.
///
/// ```
/// use fallline::schedule::{Greedy, Scheduler};
///
/// # fn main() -> fallline::Result<()> {
/// let mut scheduler = Scheduler::new(Greedy::new().patience(1).factor(0.5), [0.1])?;
/// for loss in [3.0, 2.0] {
///     scheduler.observe(loss);
/// }
/// assert_eq!(scheduler.lrs(), [0.2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Greedy {
    /// Which metrics are better. Default: lower ones.
    pub mode: MetricMode,
    /// The factor, in (0, 1). Default: 0.95.
    pub factor: f64,
    /// How many metrics in a row change nothing. Default: 10.
    pub patience: u64,
    /// By how much better they must be, finite and >= 0. Default: 1e-6.
    pub threshold: f64,
    /// Of what. Default: absolute.
    pub threshold_mode: ThresholdMode,
    /// How many metrics after a decrease are not counted. Default: 0.
    pub cooldown: u64,
    /// How many metrics after an increase are not counted. Default: 0.
    pub warmup: u64,
    /// The lowest rate that a decrease leads to, finite and >= 0. Default: 1e-3.
    pub min_lr: PerGroup,
    /// The highest rate that an increase leads to, finite and >= 0. Default: 1.
    pub max_lr: PerGroup,
    /// Changes up to this are not made, finite and >= 0. Default: 1e-8.
    pub eps: f64,
    /// Whether metrics are averaged. Default: false.
    pub smooth: bool,
    /// Over how many, at least 1. Default: 50.
    pub window_size: u64,
    /// After how many decreases at the lowest rate it begins anew. Default: 500.
    pub reset_start: u64,
}

impl Default for Greedy {
    fn default() -> Self {
        Self {
            mode: MetricMode::Min,
            factor: 0.95,
            patience: 10,
            threshold: 1e-6,
            threshold_mode: ThresholdMode::Abs,
            cooldown: 0,
            warmup: 0,
            min_lr: PerGroup::All(1e-3),
            max_lr: PerGroup::All(1.0),
            eps: 1e-8,
            smooth: false,
            window_size: 50,
            reset_start: 500,
        }
    }
}

crate::rules::builders!(Greedy {
    mode: MetricMode,
    factor: f64,
    patience: u64,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: u64,
    warmup: u64,
    eps: f64,
    smooth: bool,
    window_size: u64,
    reset_start: u64,
});

impl Greedy {
    /// Sets [`min_lr`](Self#structfield.min_lr).
    #[must_use]
    pub fn min_lr(mut self, min_lr: impl Into<PerGroup>) -> Self {
        self.min_lr = min_lr.into();
        self
    }

    /// Sets [`max_lr`](Self#structfield.max_lr).
    #[must_use]
    pub fn max_lr(mut self, max_lr: impl Into<PerGroup>) -> Self {
        self.max_lr = max_lr.into();
        self
    }

    /// What becomes of the rates after a metric.
    pub(super) fn observe(
        &self,
        metric: f64,
        state: &mut MetricState,
        (base_lrs, lrs): (&[f64], &mut [f64]),
    ) {
        let metric = if self.smooth { self.average(metric, state) } else { metric };
        if state.cooldown_counter > 0 || state.warmup_counter > 0 {
            let counters = (&mut state.cooldown_counter, &mut state.warmup_counter);
            let counter = if *counters.0 > 0 { counters.0 } else { counters.1 };
            *counter -= 1;
            (state.num_good_epochs, state.num_bad_epochs) = (0, 0);
            return;
        }
        state.compare(metric, self.mode, (self.threshold, self.threshold_mode));
        if state.num_good_epochs > self.patience {
            self.increase(lrs);
            state.num_at_min = 0;
            state.warmup_counter = self.warmup;
            state.num_good_epochs = 0;
        } else if state.num_bad_epochs > self.patience {
            let at_min = self.decrease(lrs);
            state.num_at_min += u64::from(at_min);
            if at_min && state.num_at_min >= self.reset_start {
                lrs.copy_from_slice(base_lrs);
                *state = MetricState::default();
            }
            state.cooldown_counter = self.cooldown;
            state.num_bad_epochs = 0;
        }
    }

    /// The mean of the last metrics that were finite, if this one is.
    fn average(&self, metric: f64, state: &mut MetricState) -> f64 {
        if !metric.is_finite() {
            return metric;
        }
        let window = &mut state.window;
        window.push(metric);
        if window.len() as u64 > self.window_size {
            window.remove(0);
        }
        window.iter().sum::<f64>() / window.len() as f64
    }

    fn increase(&self, lrs: &mut [f64]) {
        for (group, lr) in lrs.iter_mut().enumerate() {
            let higher = (*lr / self.factor).min(self.max_lr.get(group));
            if higher - *lr > self.eps {
                *lr = higher;
            }
        }
    }

    /// Whether all groups are at their lowest rate now.
    fn decrease(&self, lrs: &mut [f64]) -> bool {
        let mut at_min = true;
        for (group, lr) in lrs.iter_mut().enumerate() {
            let min = self.min_lr.get(group);
            let lower = (*lr * self.factor).max(min);
            if *lr - lower > self.eps {
                *lr = lower;
            }
            at_min &= *lr <= min;
        }
        at_min
    }

    pub(super) fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "greedy_schedule";
        let groups = base_lrs.len();
        let ok = self.factor > 0.0 && self.factor < 1.0;
        option::ensure(ok, KIND, "factor", "in (0, 1)", self.factor)?;
        option::non_negative(KIND, "threshold", self.threshold)?;
        self.min_lr.check(KIND, "min_lr", groups, option::non_negative)?;
        self.max_lr.check(KIND, "max_lr", groups, option::non_negative)?;
        option::non_negative(KIND, "eps", self.eps)?;
        option::at_least_1(KIND, "window_size", self.window_size)
    }
}
