use super::{MetricMode, MetricState, PerGroup, ThresholdMode, option};
use crate::Result;

/// A decay by `factor` whenever a metric has not become better for more than `patience` times.
///
/// ```text
/// better: metric < best - threshold · |best|      (or < best - threshold; with `max`, > best + …)
/// lr ← max(lr · factor, min_lr)  after more than `patience` metrics in a row that were not better,
/// unless that would change it by `eps` or less; then `cooldown` metrics are not counted
/// ```
///
/// A metric is what [`Scheduler::observe`](super::Scheduler::observe) is given, be it once an epoch or once a step. One
/// that is not finite is not better.
///
/// Source: `torch.optim.lr_scheduler.ReduceLROnPlateau`, whose relative threshold is best · (1 - threshold): of negative
/// metrics it takes worse ones for better.
///
/// ```
/// use fallline::schedule::{ReduceOnPlateau, Scheduler};
///
/// # fn main() -> fallline::Result<()> {
/// let mut scheduler = Scheduler::new(ReduceOnPlateau::new().patience(1), [0.1])?;
/// for loss in [2.0, 1.0, 1.0, 1.0] {
///     scheduler.observe(loss);
/// }
/// assert_eq!(scheduler.lrs(), [0.1 * 0.1]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ReduceOnPlateau {
    /// Which metrics are better. Default: lower ones.
    pub mode: MetricMode,
    /// The factor, in [0, 1). Default: 0.1.
    pub factor: f64,
    /// How many metrics in a row need not be better. Default: 10.
    pub patience: u64,
    /// By how much better they must be, finite and >= 0. Default: 1e-4.
    pub threshold: f64,
    /// Of what. Default: of the best.
    pub threshold_mode: ThresholdMode,
    /// How many metrics after a decrease are not counted. Default: 0.
    pub cooldown: u64,
    /// The lowest rate, finite and >= 0. Default: 0.
    pub min_lr: PerGroup,
    /// Changes up to this are not made, finite and >= 0. Default: 1e-8.
    pub eps: f64,
}

impl Default for ReduceOnPlateau {
    fn default() -> Self {
        Self {
            mode: MetricMode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: PerGroup::All(0.0),
            eps: 1e-8,
        }
    }
}

crate::rules::builders!(ReduceOnPlateau {
    mode: MetricMode,
    factor: f64,
    patience: u64,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: u64,
    eps: f64,
});

impl ReduceOnPlateau {
    /// Sets [`min_lr`](Self#structfield.min_lr).
    #[must_use]
    pub fn min_lr(mut self, min_lr: impl Into<PerGroup>) -> Self {
        self.min_lr = min_lr.into();
        self
    }

    /// What becomes of the rates after a metric.
    pub(super) fn observe(&self, metric: f64, state: &mut MetricState, lrs: &mut [f64]) {
        state.compare(metric, self.mode, (self.threshold, self.threshold_mode));
        if state.cooldown_counter > 0 {
            state.cooldown_counter -= 1;
            state.num_bad_epochs = 0;
        }
        if state.num_bad_epochs > self.patience {
            for (group, lr) in lrs.iter_mut().enumerate() {
                let lower = (*lr * self.factor).max(self.min_lr.get(group));
                if *lr - lower > self.eps {
                    *lr = lower;
                }
            }
            state.cooldown_counter = self.cooldown;
            state.num_bad_epochs = 0;
        }
    }

    pub(super) fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "reduce_on_plateau";
        let below_1 = (0.0..1.0).contains(&self.factor);
        option::ensure(below_1, KIND, "factor", "in [0, 1)", self.factor)?;
        option::non_negative(KIND, "threshold", self.threshold)?;
        self.min_lr.check(KIND, "min_lr", base_lrs.len(), option::non_negative)?;
        option::non_negative(KIND, "eps", self.eps)
    }
}
