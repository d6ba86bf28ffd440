use super::{Anneal, PerGroup, Schedule, option};
use crate::Result;

/// One cycle: up to `max_lr` and down to almost nothing, while momentum goes down and up again.
///
/// ```text
/// phase      ends at step                     learning rate              momentum
/// up         pct_start · total - 1            initial → max_lr           max_momentum → base_momentum
/// down       total - 1                        max_lr → min               base_momentum → max_momentum
///
/// or, with three_phase, after the first
/// down       2 · pct_start · total - 2        max_lr → initial           base_momentum → max_momentum
/// away       total - 1                        initial → min              max_momentum
///
/// initial = max_lr / div_factor,  min = initial / final_div_factor
/// ```
///
/// The rate that a group was given is not used. From the last step on everything stays as it is. (torch takes one step
/// more, for which it extrapolates: linearly to -0.0054 of a `max_lr` of 0.1.) A phase of no length, by which torch
/// divides, is at its end.
///
/// Source: Smith and Topin, *Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates*, 2018;
/// `torch.optim.lr_scheduler.OneCycleLR`.
///
/// ```
/// use fallline::{AdamW, Rule, schedule::{OneCycle, Schedule}};
///
/// let schedule = OneCycle::new(0.1, 1000);
/// assert_eq!(schedule.lr(0.0, 0), 0.1 / 25.0);
/// assert_eq!(schedule.lr(0.0, 299), 0.1);
/// // For `Optimizer::set_rule`, of any rule with momentum or β1:
/// let beta1 = schedule.momentum(299).expect("cycle_momentum is on by default");
/// let rule = AdamW::new().with_momentum(beta1).expect("AdamW has one");
/// assert_eq!(rule.downcast_ref(), Some(&AdamW::new().betas((0.85, 0.999))));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct OneCycle {
    /// The highest rate, finite and >= 0.
    pub max_lr: PerGroup,
    /// Steps of all phases together, at least 1.
    #[cfg_attr(feature = "serde", serde(default))]
    pub total_steps: Option<u64>,
    /// Instead, together with the next, at least 1.
    #[cfg_attr(feature = "serde", serde(default))]
    pub epochs: Option<u64>,
    /// Steps of each epoch, at least 1.
    #[cfg_attr(feature = "serde", serde(default))]
    pub steps_per_epoch: Option<u64>,
    /// The part of the steps that the first phase has, in [0, 1]. Default: 0.3.
    #[cfg_attr(feature = "serde", serde(default = "default::pct_start"))]
    pub pct_start: f64,
    /// How a phase goes from its start to its end. Default: by a cosine.
    #[cfg_attr(feature = "serde", serde(default))]
    pub anneal_strategy: Anneal,
    /// Whether there is a momentum. Default: true.
    #[cfg_attr(feature = "serde", serde(default = "default::cycle_momentum"))]
    pub cycle_momentum: bool,
    /// The lowest momentum, in [0, 1]. Default: 0.85.
    #[cfg_attr(feature = "serde", serde(default = "default::base_momentum"))]
    pub base_momentum: PerGroup,
    /// The highest momentum, in [0, 1]. Default: 0.95.
    #[cfg_attr(feature = "serde", serde(default = "default::max_momentum"))]
    pub max_momentum: PerGroup,
    /// `max_lr` over the first rate, finite and > 0. Default: 25.
    #[cfg_attr(feature = "serde", serde(default = "default::div_factor"))]
    pub div_factor: f64,
    /// The first rate over the last, finite and > 0. Default: 10,000.
    #[cfg_attr(feature = "serde", serde(default = "default::final_div_factor"))]
    pub final_div_factor: f64,
    /// Whether the first rate is reached again on the way down. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub three_phase: bool,
}

/// torch's.
mod default {
    use super::PerGroup;

    pub(super) fn pct_start() -> f64 {
        0.3
    }

    pub(super) fn cycle_momentum() -> bool {
        true
    }

    pub(super) fn base_momentum() -> PerGroup {
        0.85.into()
    }

    pub(super) fn max_momentum() -> PerGroup {
        0.95.into()
    }

    pub(super) fn div_factor() -> f64 {
        25.0
    }

    pub(super) fn final_div_factor() -> f64 {
        1e4
    }
}

impl OneCycle {
    /// With torch's defaults.
    #[must_use]
    pub fn new(max_lr: impl Into<PerGroup>, total_steps: u64) -> Self {
        Self {
            max_lr: max_lr.into(),
            total_steps: Some(total_steps),
            epochs: None,
            steps_per_epoch: None,
            pct_start: default::pct_start(),
            anneal_strategy: Anneal::default(),
            cycle_momentum: default::cycle_momentum(),
            base_momentum: default::base_momentum(),
            max_momentum: default::max_momentum(),
            div_factor: default::div_factor(),
            final_div_factor: default::final_div_factor(),
            three_phase: false,
        }
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

    fn total(&self) -> u64 {
        let by_epochs = || self.epochs?.checked_mul(self.steps_per_epoch?);
        self.total_steps.or_else(by_epochs).unwrap_or(1).max(1)
    }

    /// Which phase step `t` is in, and how far it is.
    fn phase(&self, t: u64) -> (Phase, f64) {
        let total = self.total();
        let (step, last) = (t.min(total - 1) as f64, (total - 1) as f64);
        let up = self.pct_start * total as f64;
        let two = [(Phase::Up, up - 1.0), (Phase::DownToMin, last)];
        let three =
            [(Phase::Up, up - 1.0), (Phase::DownToInitial, 2.0 * up - 2.0), (Phase::Away, last)];
        let phases: &[_] = if self.three_phase { &three } else { &two };
        let mut start = 0.0;
        for (phase, end) in phases {
            if step <= *end {
                return (*phase, if *end == start { 1.0 } else { (step - start) / (end - start) });
            }
            start = *end;
        }
        (phases[phases.len() - 1].0, 1.0)
    }
}

#[derive(Clone, Copy)]
enum Phase {
    Up,
    DownToMin,
    DownToInitial,
    Away,
}

crate::rules::setters!(OneCycle {
    pct_start: f64,
    anneal_strategy: Anneal,
    cycle_momentum: bool,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
});

impl Schedule for OneCycle {
    fn lr(&self, base: f64, t: u64) -> f64 {
        self.lr_of_group(0, base, t)
    }

    fn lr_of_group(&self, group: usize, _: f64, t: u64) -> f64 {
        let max = self.max_lr.get(group);
        let initial = max / self.div_factor;
        let min = initial / self.final_div_factor;
        let (phase, part) = self.phase(t);
        let (start, end) = match phase {
            Phase::Up => (initial, max),
            Phase::DownToMin => (max, min),
            Phase::DownToInitial => (max, initial),
            Phase::Away => (initial, min),
        };
        self.anneal_strategy.between(start, end, part)
    }

    fn momentum_of_group(&self, group: usize, t: u64) -> Option<f64> {
        let (base, max) = (self.base_momentum.get(group), self.max_momentum.get(group));
        let (phase, part) = self.phase(t);
        let (start, end) = match phase {
            Phase::Up => (max, base),
            Phase::DownToMin | Phase::DownToInitial => (base, max),
            Phase::Away => (max, max),
        };
        self.cycle_momentum.then(|| self.anneal_strategy.between(start, end, part))
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        const KIND: &str = "one_cycle";
        let groups = base_lrs.len();
        self.max_lr.check(KIND, "max_lr", groups, option::non_negative)?;
        match (self.total_steps, self.epochs, self.steps_per_epoch) {
            (Some(total), None, None) => option::at_least_1(KIND, "total_steps", total)?,
            (None, Some(epochs), Some(steps)) => {
                option::at_least_1(KIND, "epochs", epochs)?;
                option::at_least_1(KIND, "steps_per_epoch", steps)?;
            }
            (total, epochs, steps) => {
                let given = [
                    ("total_steps", total.is_some()),
                    ("epochs", epochs.is_some()),
                    ("steps_per_epoch", steps.is_some()),
                ];
                let expected = "given, or epochs and steps_per_epoch instead";
                option::ensure(false, KIND, "total_steps", expected, option::names(&given))?;
            }
        }
        option::unit(KIND, "pct_start", self.pct_start)?;
        self.base_momentum.check(KIND, "base_momentum", groups, option::unit)?;
        self.max_momentum.check(KIND, "max_momentum", groups, option::unit)?;
        option::positive(KIND, "div_factor", self.div_factor)?;
        option::positive(KIND, "final_div_factor", self.final_div_factor)
    }
}
