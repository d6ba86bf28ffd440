//! What schedules that go by a metric have in common.

/// Which metrics are better.
///
/// ```
/// use fallline::schedule::{MetricMode, ReduceOnPlateau};
///
/// let by_accuracy = ReduceOnPlateau::new().mode(MetricMode::Max);
/// # let _ = by_accuracy;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum MetricMode {
    /// Lower ones, as of a loss.
    #[default]
    Min,
    /// Higher ones, as of an accuracy.
    Max,
}

/// How much better than the best a metric must be to count as better.
///
/// ```
/// use fallline::schedule::{ReduceOnPlateau, ThresholdMode};
///
/// let by_hundredths = ReduceOnPlateau::new().threshold(0.01).threshold_mode(ThresholdMode::Abs);
/// # let _ = by_hundredths;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ThresholdMode {
    /// By more than `threshold` · |best|.
    Rel,
    /// By more than `threshold`.
    Abs,
}

/// What a schedule keeps of the metrics that it was given. It goes into checkpoints: whatever the metrics were, its numbers
/// are finite, since JSON has no others.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct MetricState {
    /// The best.
    pub best: Option<f64>,
    /// How many in a row were better.
    pub num_good_epochs: u64,
    /// How many in a row were not.
    pub num_bad_epochs: u64,
    /// How many more are not looked at after a decrease.
    pub cooldown_counter: u64,
    /// How many more are not looked at after an increase.
    pub warmup_counter: u64,
    /// How many decreases there would have been at the lowest rate.
    pub num_at_min: u64,
    /// The last ones, to be averaged.
    pub window: Vec<f64>,
}

impl MetricState {
    /// Counts a metric as better or not, and keeps the best. One that is not finite is never better.
    pub(super) fn compare(
        &mut self,
        metric: f64,
        mode: MetricMode,
        (threshold, threshold_mode): (f64, ThresholdMode),
    ) {
        let better = metric.is_finite()
            && self.best.is_none_or(|best| {
                let by = match threshold_mode {
                    ThresholdMode::Rel => threshold * best.abs(),
                    ThresholdMode::Abs => threshold,
                };
                match mode {
                    MetricMode::Min => metric < best - by,
                    MetricMode::Max => metric > best + by,
                }
            });
        if better {
            self.best = Some(metric);
            self.num_bad_epochs = 0;
            self.num_good_epochs += 1;
        } else {
            self.num_bad_epochs += 1;
            self.num_good_epochs = 0;
        }
    }
}
