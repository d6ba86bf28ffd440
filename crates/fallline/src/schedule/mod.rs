//! Learning-rate schedules: torch's and transformers', as formulas.
//!
//! A [`Schedule`] gives the learning rate of any step, so that a run resumes wherever it was:
//!
//! ```
//! use fallline::{Step, schedule::{CosineAnnealing, Schedule}};
//!
//! # fn train(optimizer: &mut fallline::Optimizer) -> fallline::Result<()> {
//! let schedule = CosineAnnealing::new(1000).eta_min(1e-5);
//! for t in 0..1000 {
//!     optimizer.step(&Step::lr(schedule.lr(1e-3, t)))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Groups with different rates have one each: `Step::lr_per_group(&schedule.lrs(&[1e-3, 1e-4], t))`.
//!
//! A [`Scheduler`] keeps the rates of the next step, as torch's do. Schedules that go by a metric
//! ([`ReduceOnPlateau`], [`Greedy`]) need one, and its [state](SchedulerState) in checkpoints.
//!
//! # What is counted
//!
//! `t` is how many steps were recorded before, so that the first step has `lr(base, 0)`. Steps that the GPU
//! skips for an overflow count too, since the host does not know of them without waiting.
//!
//! # What else can follow a schedule
//!
//! Any number that may change from step to step, through [`Optimizer::set_rule`](crate::Optimizer::set_rule):
//! [weight decay](crate::Rule::with_weight_decay), say, or the [momentum](Schedule::momentum) that [`OneCycle`] and
//! [`Cyclic`] have besides.
//!
//! ```
//! use fallline::{Optimizer, Rule, Step, schedule::{Cyclic, Schedule}};
//!
//! # fn train(optimizer: &mut Optimizer, t: u64) -> fallline::Result<()> {
//! let schedule = Cyclic::new(1e-2).step_size_up(500);
//! let momentum = schedule.momentum(t).expect("cycle_momentum is on by default");
//! let rule = &optimizer.groups()[0].rule; // any that has a momentum, or a β1
//! let rule = rule.with_momentum(momentum).expect("so this has");
//! optimizer.set_rule("weights", rule)?;
//! optimizer.step(&Step::lr(schedule.lr(1e-3, t)))?;
//! # Ok(())
//! # }
//! ```
//!
//! Weight decay follows a schedule of its own, from its own base on:
//!
//! ```
//! use fallline::{AdamW, Step, schedule::{CosineWithWarmup, Schedule}};
//!
//! # fn train(optimizer: &mut fallline::Optimizer, t: u64) -> fallline::Result<()> {
//! let schedule = CosineWithWarmup::new(1000).num_warmup_steps(100);
//! optimizer.set_rule("weights", AdamW::new().weight_decay(schedule.lr(0.1, t)))?;
//! optimizer.step(&Step::lr(schedule.lr(1e-3, t)))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Numbers
//!
//! torch mostly multiplies the rate of the step before; here each is a formula in f64, within 1e-12 of the base of
//! torch 2.15's and transformers' 5.24. Where these divide by zero, go on beyond their end or miss a restart, each
//! schedule says so, and what it does.

mod anneal;
mod any;
mod chained;
mod constant;
mod constant_with_warmup;
mod cosine_annealing;
mod cosine_annealing_warm_restarts;
mod cosine_with_hard_restarts;
mod cosine_with_min_lr;
mod cosine_with_warmup;
mod cyclic;
mod exponential;
mod greedy;
mod inverse_sqrt;
mod linear;
mod linear_with_warmup;
mod metric;
mod multi_step;
mod multiplicative;
mod one_cycle;
mod option;
mod polynomial;
mod polynomial_decay_with_warmup;
mod reduce_on_plateau;
mod scheduler;
mod sequential;
mod step_decay;
mod swa_lr;
mod warmup_stable_decay;

pub use anneal::Anneal;
#[cfg(feature = "serde")]
pub use any::deserialize_schedule;
pub use any::{AnySchedule, Custom, KINDS};
pub use chained::Chained;
pub use constant::Constant;
pub use constant_with_warmup::ConstantWithWarmup;
pub use cosine_annealing::CosineAnnealing;
pub use cosine_annealing_warm_restarts::CosineAnnealingWarmRestarts;
pub use cosine_with_hard_restarts::CosineWithHardRestarts;
pub use cosine_with_min_lr::{CosineWithMinLr, CosineWithMinLrWarmupRate};
pub use cosine_with_warmup::CosineWithWarmup;
pub use cyclic::{Cyclic, CyclicMode, ScaleMode};
pub use exponential::Exponential;
pub use greedy::Greedy;
pub use inverse_sqrt::InverseSqrt;
pub use linear::Linear;
pub use linear_with_warmup::LinearWithWarmup;
pub use metric::{MetricMode, MetricState, ThresholdMode};
pub use multi_step::MultiStep;
pub use multiplicative::Multiplicative;
pub use one_cycle::OneCycle;
pub use option::PerGroup;
pub use polynomial::Polynomial;
pub use polynomial_decay_with_warmup::PolynomialDecayWithWarmup;
pub use reduce_on_plateau::ReduceOnPlateau;
pub use scheduler::{Scheduler, SchedulerState};
pub use sequential::Sequential;
pub use step_decay::StepDecay;
pub use swa_lr::SwaLr;
pub use warmup_stable_decay::{WarmupShape, WarmupStableDecay};

use crate::Result;

/// A learning rate for every step, as a formula.
///
/// A closure that gives a factor is one, torch's `LambdaLR`:
///
/// ```
/// use fallline::schedule::Schedule;
///
/// let schedule = |t: u64| 0.5f64.powf(t as f64);
/// assert_eq!(schedule.lr(0.1, 2), 0.025);
/// ```
pub trait Schedule: Send + Sync {
    /// The learning rate of step `t`, counted from 0, for a group whose initial one is `base`.
    fn lr(&self, base: f64, t: u64) -> f64;

    /// That of a group by its index, for schedules that have options for each.
    fn lr_of_group(&self, group: usize, base: f64, t: u64) -> f64 {
        let _ = group;
        self.lr(base, t)
    }

    /// Those of all groups, for [`Step::lr_per_group`](crate::Step::lr_per_group).
    ///
    /// ```
    /// use fallline::schedule::{Exponential, Schedule};
    ///
    /// assert_eq!(Exponential::new(0.5).lrs(&[0.1, 0.01], 1), [0.05, 0.005]);
    /// ```
    fn lrs(&self, base_lrs: &[f64], t: u64) -> Vec<f64> {
        let of_group = |(group, base): (usize, &f64)| self.lr_of_group(group, *base, t);
        base_lrs.iter().enumerate().map(of_group).collect()
    }

    /// The momentum of step `t`, or β1 of a rule that has betas, of schedules that have one.
    fn momentum(&self, t: u64) -> Option<f64> {
        self.momentum_of_group(0, t)
    }

    /// That of a group by its index.
    fn momentum_of_group(&self, group: usize, t: u64) -> Option<f64> {
        let _ = (group, t);
        None
    }

    /// What step `t` makes of a rate that another schedule has left, in a [`Chained`]. In step 0 that is the base.
    /// Unless implemented, its own whatever that is.
    fn chained_lr(&self, group: usize, found: f64, base: f64, t: u64) -> f64 {
        let _ = found;
        self.lr_of_group(group, base, t)
    }

    /// Whether its base in a [`Sequential`] is the last rate of the schedule before it, and not the group's.
    fn continues(&self) -> bool {
        false
    }

    /// Whether its options are in their ranges, for groups with these learning rates. What the other functions give
    /// if they are not is no rate.
    ///
    /// # Errors
    /// [`Error::Schedule`](crate::Error::Schedule) for the first that is not.
    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        let _ = base_lrs;
        Ok(())
    }
}

impl<F: Fn(u64) -> f64 + Send + Sync> Schedule for F {
    fn lr(&self, base: f64, t: u64) -> f64 {
        base * self(t)
    }
}

/// A rate that holds the factor of the step before, with that of step `t` instead. One that was multiplied by 0 begins
/// anew with the base.
fn refactored(found: f64, base: f64, t: u64, factor: impl Fn(u64) -> f64) -> f64 {
    let now = factor(t);
    let Some(before) = t.checked_sub(1).map(factor) else { return found * now };
    if now == before {
        found
    } else if before == 0.0 {
        base * now
    } else {
        found * (now / before)
    }
}

/// How much of `total` steps is over in step `t`: all of none.
fn part(t: u64, total: u64) -> f64 {
    if t >= total { 1.0 } else { t as f64 / total as f64 }
}

/// The factor of step `t` of a linear warm-up from 0, unless that is over.
fn warmup(t: u64, num_warmup_steps: u64) -> Option<f64> {
    (t < num_warmup_steps).then(|| t as f64 / num_warmup_steps as f64)
}
