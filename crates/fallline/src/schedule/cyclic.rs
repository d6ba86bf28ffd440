use std::{fmt, sync::Arc};

use super::{PerGroup, Schedule, option};
use crate::Result;

/// Between two rates, linearly up and down again and again, while momentum goes down and up.
///
/// ```text
/// lr(t)       = base_lr + (max_lr - base_lr) · x · scale
/// momentum(t) = max_momentum - (max_momentum - base_momentum) · x · scale
/// ```
///
/// x goes from 0 to 1 within `step_size_up` steps, and back within `step_size_down`. What scales it is 1, or of
/// [`mode`](Self#structfield.mode), or [any function](Self::scale_fn).
///
/// Source: Smith, *Cyclical Learning Rates for Training Neural Networks*, 2017; `torch.optim.lr_scheduler.CyclicLR`, where
/// `base_lr` must be given.
///
/// ```
/// use fallline::schedule::{Cyclic, CyclicMode, Schedule};
///
/// let schedule = Cyclic::new(0.1).step_size_up(4).mode(CyclicMode::Triangular2);
/// assert_eq!(schedule.lr(0.02, 0), 0.02);
/// assert_eq!(schedule.lr(0.02, 4), 0.1);
/// assert_eq!(schedule.lr(0.02, 12), 0.06);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Cyclic {
    /// The lowest rate, finite and >= 0. Default: what the group was given.
    #[cfg_attr(feature = "serde", serde(default))]
    pub base_lr: Option<PerGroup>,
    /// The highest rate, finite and >= 0.
    pub max_lr: PerGroup,
    /// Steps up, at least 1. Default: 2,000.
    #[cfg_attr(feature = "serde", serde(default = "default::step_size_up"))]
    pub step_size_up: u64,
    /// Steps down. Default: as many as up.
    #[cfg_attr(feature = "serde", serde(default))]
    pub step_size_down: Option<u64>,
    /// What becomes of the cycles. Default: they stay as they are.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mode: CyclicMode,
    /// The factor of each step in the mode `exp_range`, finite and >= 0. Default: 1.
    #[cfg_attr(feature = "serde", serde(default = "default::gamma"))]
    pub gamma: f64,
    /// Whether there is a momentum. Default: true.
    #[cfg_attr(feature = "serde", serde(default = "default::cycle_momentum"))]
    pub cycle_momentum: bool,
    /// The lowest momentum, in [0, 1]. Default: 0.8.
    #[cfg_attr(feature = "serde", serde(default = "default::base_momentum"))]
    pub base_momentum: PerGroup,
    /// The highest momentum, in [0, 1]. Default: 0.9.
    #[cfg_attr(feature = "serde", serde(default = "default::max_momentum"))]
    pub max_momentum: PerGroup,
    /// In the place of `mode`.
    #[cfg_attr(feature = "serde", serde(skip))]
    scale: Option<(ScaleMode, ScaleFn)>,
}

/// What becomes of the cycles of [`Cyclic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum CyclicMode {
    /// All are alike.
    #[default]
    Triangular,
    /// Each is half as high as the one before.
    Triangular2,
    /// Scaled by `gamma`^t.
    ExpRange,
}

/// What the function that scales a cycle of [`Cyclic`] is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScaleMode {
    /// The number of the cycle, from 1 on.
    #[default]
    Cycle,
    /// The step, from 0 on.
    Iterations,
}

#[derive(Clone)]
struct ScaleFn(Arc<dyn Fn(f64) -> f64 + Send + Sync>);

impl fmt::Debug for ScaleFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScaleFn")
    }
}

/// torch's.
mod default {
    use super::PerGroup;

    pub(super) fn step_size_up() -> u64 {
        2000
    }

    pub(super) fn gamma() -> f64 {
        1.0
    }

    pub(super) fn cycle_momentum() -> bool {
        true
    }

    pub(super) fn base_momentum() -> PerGroup {
        0.8.into()
    }

    pub(super) fn max_momentum() -> PerGroup {
        0.9.into()
    }
}

impl Cyclic {
    /// With torch's defaults, from what the group was given up to this rate.
    #[must_use]
    pub fn new(max_lr: impl Into<PerGroup>) -> Self {
        Self {
            base_lr: None,
            max_lr: max_lr.into(),
            step_size_up: default::step_size_up(),
            step_size_down: None,
            mode: CyclicMode::default(),
            gamma: default::gamma(),
            cycle_momentum: default::cycle_momentum(),
            base_momentum: default::base_momentum(),
            max_momentum: default::max_momentum(),
            scale: None,
        }
    }

    /// Sets [`base_lr`](Self#structfield.base_lr).
    #[must_use]
    pub fn base_lr(mut self, base_lr: impl Into<PerGroup>) -> Self {
        self.base_lr = Some(base_lr.into());
        self
    }

    /// Sets [`step_size_down`](Self#structfield.step_size_down).
    #[must_use]
    pub fn step_size_down(mut self, steps: u64) -> Self {
        self.step_size_down = Some(steps);
        self
    }

    /// Sets [`base_momentum`](Self#structfield.base_momentum).
    #[must_use]
    pub fn base_momentum(mut self, base_momentum: impl Into<PerGroup>) -> Self {
        self.base_momentum = base_momentum.into();
        self
    }

    /// Sets [`max_momentum`](Self#structfield.max_momentum).
    #[must_use]
    pub fn max_momentum(mut self, max_momentum: impl Into<PerGroup>) -> Self {
        self.max_momentum = max_momentum.into();
        self
    }

    /// Scales the cycles by a function, in the place of [`mode`](Self#structfield.mode).
    ///
    /// ```
    /// use fallline::schedule::{Cyclic, ScaleMode, Schedule};
    ///
    /// let thirds = |cycle: f64| 3f64.powf(1.0 - cycle);
    /// let schedule = Cyclic::new(0.9).step_size_up(4).scale_fn(ScaleMode::Cycle, thirds);
    /// assert!((schedule.lr(0.0, 12) - 0.3).abs() < 1e-15);
    /// ```
    #[must_use]
    pub fn scale_fn(
        mut self,
        mode: ScaleMode,
        scale: impl Fn(f64) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.scale = Some((mode, ScaleFn(Arc::new(scale))));
        self
    }

    /// x · scale.
    fn height(&self, t: u64) -> f64 {
        let up = self.step_size_up.max(1);
        let total = up.saturating_add(self.step_size_down.unwrap_or(up));
        let (cycle, step) = ((t / total + 1) as f64, t % total);
        let x = match total - step {
            _ if step <= up => step as f64 / up as f64,
            left => left as f64 / (total - up) as f64,
        };
        let scale = match (&self.scale, self.mode) {
            (Some((ScaleMode::Cycle, scale)), _) => scale.0(cycle),
            (Some((ScaleMode::Iterations, scale)), _) => scale.0(t as f64),
            (None, CyclicMode::Triangular) => 1.0,
            (None, CyclicMode::Triangular2) => (1.0 - cycle).exp2(),
            (None, CyclicMode::ExpRange) => self.gamma.powf(t as f64),
        };
        x * scale
    }
}

crate::rules::setters!(Cyclic {
    step_size_up: u64,
    mode: CyclicMode,
    gamma: f64,
    cycle_momentum: bool,
});

impl Schedule for Cyclic {
    fn lr(&self, base: f64, t: u64) -> f64 {
        self.lr_of_group(0, base, t)
    }

    fn lr_of_group(&self, group: usize, base: f64, t: u64) -> f64 {
        let base = self.base_lr.as_ref().map_or(base, |base_lr| base_lr.get(group));
        base + (self.max_lr.get(group) - base) * self.height(t)
    }

    fn momentum_of_group(&self, group: usize, t: u64) -> Option<f64> {
        let (base, max) = (self.base_momentum.get(group), self.max_momentum.get(group));
        self.cycle_momentum.then(|| max - (max - base) * self.height(t))
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "cyclic";
        let groups = base_lrs.len();
        if let Some(base_lr) = &self.base_lr {
            base_lr.check(KIND, "base_lr", groups, option::non_negative)?;
        }
        self.max_lr.check(KIND, "max_lr", groups, option::non_negative)?;
        option::at_least_1(KIND, "step_size_up", self.step_size_up)?;
        option::non_negative(KIND, "gamma", self.gamma)?;
        self.base_momentum.check(KIND, "base_momentum", groups, option::unit)?;
        self.max_momentum.check(KIND, "max_momentum", groups, option::unit)
    }
}
