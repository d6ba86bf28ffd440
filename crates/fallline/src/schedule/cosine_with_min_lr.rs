use super::{
    Schedule,
    cosine_with_warmup::{default_num_cycles, wave},
    option, part, warmup,
};
use crate::Result;

/// A linear warm-up from 0, then a cosine down to a rate above 0.
///
/// ```text
/// lr(t) = base · t / w  for t < w,  min + (base - min) · (1 + cos(2π · num_cycles · min(1, (t - w) / (T - w)))) / 2
/// after these
/// ```
///
/// w is `num_warmup_steps` and T `num_training_steps`; min is `min_lr`, or `min_lr_rate` · base.
///
/// Source: transformers' `get_cosine_with_min_lr_schedule_with_warmup`. It rises again after T, where this stays as it
/// is; and it divides `min_lr` by the optimizer's default rate, so that groups with another end at another.
///
/// ```
/// use fallline::schedule::{CosineWithMinLr, Schedule};
///
/// let schedule = CosineWithMinLr::new(1000).num_warmup_steps(100).min_lr(0.01);
/// assert_eq!(schedule.lr(0.1, 100), 0.1);
/// assert_eq!(schedule.lr(0.1, 1000), 0.01);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CosineWithMinLr {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// All steps, at least 1.
    pub num_training_steps: u64,
    /// Waves of the cosine, finite and >= 0. Default: 1/2.
    #[cfg_attr(feature = "serde", serde(default = "default_num_cycles"))]
    pub num_cycles: f64,
    /// The lowest rate, of any group; at most the base of each. Either this or the next is given.
    #[cfg_attr(feature = "serde", serde(default))]
    pub min_lr: Option<f64>,
    /// The lowest rate as a part of the base, in [0, 1].
    #[cfg_attr(feature = "serde", serde(default))]
    pub min_lr_rate: Option<f64>,
}

/// As [`CosineWithMinLr`], one step ahead: no step has a rate of 0, and the last one has the lowest.
///
/// ```text
/// lr(t) = base · (t + 1) / w,  or base · (r + (1 - r) · t / (w - 1)) with r = warmup_lr_rate  for t < w
/// lr(t) = min + (base - min) · (1 + cos(2π · num_cycles · min(1, (t - w + 1) / (T - w)))) / 2 after these
/// ```
///
/// Source: transformers' `get_cosine_with_min_lr_schedule_with_warmup_lr_rate`, with the same differences.
///
/// ```
/// use fallline::schedule::{CosineWithMinLrWarmupRate, Schedule};
///
/// let schedule = CosineWithMinLrWarmupRate::new(1000).num_warmup_steps(100).min_lr_rate(0.1);
/// assert_eq!(schedule.lr(1.0, 0), 0.01);
/// assert_eq!(schedule.lr(1.0, 999), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct CosineWithMinLrWarmupRate {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// All steps, at least 1.
    pub num_training_steps: u64,
    /// Waves of the cosine, finite and >= 0. Default: 1/2.
    #[cfg_attr(feature = "serde", serde(default = "default_num_cycles"))]
    pub num_cycles: f64,
    /// The lowest rate, of any group; at most the base of each. Either this or the next is given.
    #[cfg_attr(feature = "serde", serde(default))]
    pub min_lr: Option<f64>,
    /// The lowest rate as a part of the base, in [0, 1].
    #[cfg_attr(feature = "serde", serde(default))]
    pub min_lr_rate: Option<f64>,
    /// The first rate as a part of the base, in [0, 1]. Default: 1 / w.
    #[cfg_attr(feature = "serde", serde(default))]
    pub warmup_lr_rate: Option<f64>,
}

impl CosineWithMinLr {
    /// Without a warm-up; [`min_lr`](Self::min_lr) or [`min_lr_rate`](Self::min_lr_rate) must follow.
    #[must_use]
    pub fn new(num_training_steps: u64) -> Self {
        Self {
            num_warmup_steps: 0,
            num_training_steps,
            num_cycles: default_num_cycles(),
            min_lr: None,
            min_lr_rate: None,
        }
    }

    /// Sets [`min_lr`](Self#structfield.min_lr).
    #[must_use]
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = Some(min_lr);
        self
    }

    /// Sets [`min_lr_rate`](Self#structfield.min_lr_rate).
    #[must_use]
    pub fn min_lr_rate(mut self, min_lr_rate: f64) -> Self {
        self.min_lr_rate = Some(min_lr_rate);
        self
    }
}

impl CosineWithMinLrWarmupRate {
    /// Without a warm-up; [`min_lr`](Self::min_lr) or [`min_lr_rate`](Self::min_lr_rate) must follow.
    #[must_use]
    pub fn new(num_training_steps: u64) -> Self {
        Self {
            num_warmup_steps: 0,
            num_training_steps,
            num_cycles: default_num_cycles(),
            min_lr: None,
            min_lr_rate: None,
            warmup_lr_rate: None,
        }
    }

    /// Sets [`min_lr`](Self#structfield.min_lr).
    #[must_use]
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = Some(min_lr);
        self
    }

    /// Sets [`min_lr_rate`](Self#structfield.min_lr_rate).
    #[must_use]
    pub fn min_lr_rate(mut self, min_lr_rate: f64) -> Self {
        self.min_lr_rate = Some(min_lr_rate);
        self
    }

    /// Sets [`warmup_lr_rate`](Self#structfield.warmup_lr_rate).
    #[must_use]
    pub fn warmup_lr_rate(mut self, warmup_lr_rate: f64) -> Self {
        self.warmup_lr_rate = Some(warmup_lr_rate);
        self
    }
}

crate::rules::setters!(CosineWithMinLr { num_warmup_steps: u64, num_cycles: f64 });
crate::rules::setters!(CosineWithMinLrWarmupRate { num_warmup_steps: u64, num_cycles: f64 });

impl Schedule for CosineWithMinLr {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let w = self.num_warmup_steps;
        if let Some(factor) = warmup(t, w) {
            return base * factor;
        }
        let min = self.min_lr.or_else(|| Some(self.min_lr_rate? * base)).unwrap_or(f64::NAN);
        let part = part(t - w, self.num_training_steps.saturating_sub(w));
        min + (base - min) * wave(self.num_cycles, part)
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "cosine_with_min_lr_schedule_with_warmup";
        option::at_least_1(KIND, "num_training_steps", self.num_training_steps)?;
        option::non_negative(KIND, "num_cycles", self.num_cycles)?;
        check_min(KIND, self.min_lr, self.min_lr_rate, base_lrs)
    }
}

impl Schedule for CosineWithMinLrWarmupRate {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let w = self.num_warmup_steps;
        if t < w {
            let linear = |rate: f64| rate + (1.0 - rate) * t as f64 / (w - 1).max(1) as f64;
            return base * self.warmup_lr_rate.map_or((t + 1) as f64 / w as f64, linear);
        }
        let min = self.min_lr.or_else(|| Some(self.min_lr_rate? * base)).unwrap_or(f64::NAN);
        let steps = self.num_training_steps.saturating_sub(w).max(1);
        min + (base - min) * wave(self.num_cycles, part((t - w).saturating_add(1), steps))
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "cosine_with_min_lr_schedule_with_warmup_lr_rate";
        option::at_least_1(KIND, "num_training_steps", self.num_training_steps)?;
        option::non_negative(KIND, "num_cycles", self.num_cycles)?;
        check_min(KIND, self.min_lr, self.min_lr_rate, base_lrs)?;
        self.warmup_lr_rate.map_or(Ok(()), |rate| option::unit(KIND, "warmup_lr_rate", rate))
    }
}

/// Whether the lowest rate is given once, and below the others.
fn check_min(
    kind: &'static str,
    min_lr: Option<f64>,
    min_lr_rate: Option<f64>,
    base_lrs: &[f64],
) -> Result<()> {
    match (min_lr, min_lr_rate) {
        (Some(min_lr), None) => {
            option::non_negative(kind, "min_lr", min_lr)?;
            option::at_most_bases(kind, "min_lr", min_lr, base_lrs)
        }
        (None, Some(rate)) => option::unit(kind, "min_lr_rate", rate),
        (min_lr, rate) => {
            let given = [("min_lr", min_lr.is_some()), ("min_lr_rate", rate.is_some())];
            let expected = "given, or min_lr_rate instead";
            option::ensure(false, kind, "min_lr", expected, option::names(&given))
        }
    }
}
