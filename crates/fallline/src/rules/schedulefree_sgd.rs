use fallline_shaders::{Source, rules::SCHEDULEFREE_SGD};

use super::{
    OutOfRange, Rule, builders, range,
    schedulefree_adamw::{check_momentum, check_powers, schedule, schedule_slots},
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// Schedule-free SGD: no learning rate schedule, but an average at which the parameter is evaluated.
///
/// ```text
/// lr_k ← lr · min(1, k / warmup_steps),   lr_max ← max(lr_max, lr_k)        k counts the optimizer's steps
/// weight ← k^r · lr_max^weight_lr_power,   weight_sum ← weight_sum + weight,   c ← weight / weight_sum
/// ĝ ← g + weight_decay · y
/// y ← y + c · (z - y) - lr_k · (1 - momentum · (1 - c)) · ĝ
/// z ← z - lr_k · ĝ
/// x = y + (1 - 1 / momentum) · (z - y)
/// ```
///
/// The parameter is y while it is trained, and x where it is evaluated; k and what goes by it are as for
/// [`ScheduleFreeAdamW`](crate::ScheduleFreeAdamW).
///
/// Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, *The Road Less Scheduled*, 2024; schedulefree 1.4.1's
/// `SGDScheduleFree`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ScheduleFreeSgd {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// How close to the average gradients are taken, in (0, 1).
    pub momentum: f64,
    /// Weight decay at y, finite and >= 0.
    pub weight_decay: f64,
    /// Steps in which the learning rate grows to what it is.
    pub warmup_steps: u32,
    /// By which power of k later steps weigh more, in [0, 4].
    pub r: f64,
    /// By which power of the learning rate a step weighs in the average, in [0, 4].
    pub weight_lr_power: f64,
}

impl Default for ScheduleFreeSgd {
    /// schedulefree's defaults.
    fn default() -> Self {
        Self {
            lr: 1.0,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_steps: 0,
            r: 0.0,
            weight_lr_power: 2.0,
        }
    }
}

builders!(ScheduleFreeSgd {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    warmup_steps: u32,
    r: f64,
    weight_lr_power: f64,
});

impl Rule for ScheduleFreeSgd {
    fn source(&self) -> Source {
        SCHEDULEFREE_SGD
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        check_momentum("momentum", self.momentum)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        check_powers(self.r, self.weight_lr_power)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        let mut slots = vec![Slot::moment("z").exact()];
        slots.extend(schedule_slots());
        slots
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("weight_decay", self.weight_decay), ("evaluated_at", 1.0 - 1.0 / self.momentum)]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let momentum = self.momentum;
        let mut hyper = vec![("momentum", momentum), ("one_minus_momentum", 1.0 - momentum)];
        hyper.extend(schedule(self.warmup_steps, self.r, self.weight_lr_power));
        hyper
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn keeps_without_grad(&self) -> bool {
        true
    }

    fn moves_state(&self) -> bool {
        true
    }

    fn evaluates(&self) -> bool {
        true
    }
}
