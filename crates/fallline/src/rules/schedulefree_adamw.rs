use fallline_shaders::{Source, rules::SCHEDULEFREE_ADAMW};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, adafactor::split, builders, ln_beta, range,
    weight_decay,
};
use crate::{Slot, TensorSpec};

/// Schedule-free AdamW: no learning rate schedule, but an average at which the parameter is evaluated.
///
/// ```text
/// lr_k ← lr · min(1, k / warmup_steps),   lr_max ← max(lr_max, lr_k)        k counts the optimizer's steps
/// weight ← k^r · lr_max^weight_lr_power,   weight_sum ← weight_sum + weight,   c ← weight / weight_sum
/// v ← β2 · v + (1 - β2) · g²
/// ĝ ← g / (√(v / (1 - β2^k)) + eps) + weight_decay · y
/// y ← y + c · (z - y) - lr_k · (1 - β1 · (1 - c)) · ĝ
/// z ← z - lr_k · ĝ
/// x = y + (1 - 1 / β1) · (z - y)
/// ```
///
/// The parameter is y while it is trained, where gradients belong. It is evaluated at x:
/// [`Optimizer::eval`](crate::Optimizer::eval) puts it there, and [`train`](crate::Optimizer::train) puts y back, to the
/// bit; between the two a step is an error. (In schedulefree both are computed from the other, and a step or a checkpoint in
/// the wrong mode is a common mistake: here neither is possible. A β1 of 0 divides by zero there and is refused.) z, in
/// f32 in any format of state, is the parameter before the tensor's first step. In 16 bits without a master an update of
/// y may be lost, and x is y's rounding, times 1 / β1, away from the average.
///
/// Give every step the same learning rate. k, lr_max and weight_sum are the group's in schedulefree and go on in a
/// step in which a tensor has no gradient. So they do here, in a copy for each tensor, which begins with the tensor:
/// one that is added later has a k of its own. The sum is kept in two parts (`weight_sum_rest`), for millions of steps.
///
/// Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, *The Road Less Scheduled*, 2024; schedulefree 1.4.1's
/// `AdamWScheduleFree`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ScheduleFreeAdamW {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 in (0, 1), how close to the average gradients are taken; and β2 in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// Weight decay at y, finite and >= 0.
    pub weight_decay: f64,
    /// Steps in which the learning rate grows to what it is.
    pub warmup_steps: u32,
    /// By which power of k later steps weigh more, in [0, 4].
    pub r: f64,
    /// By which power of the learning rate a step weighs in the average, in [0, 4].
    pub weight_lr_power: f64,
}

impl Default for ScheduleFreeAdamW {
    /// schedulefree's defaults.
    fn default() -> Self {
        Self {
            lr: 2.5e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            warmup_steps: 0,
            r: 0.0,
            weight_lr_power: 2.0,
        }
    }
}

builders!(ScheduleFreeAdamW {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    warmup_steps: u32,
    r: f64,
    weight_lr_power: f64,
});

/// The slots of what a schedule-free rule knows of its steps.
pub(super) fn schedule_slots() -> [Slot; 4] {
    ["k", "lr_max", "weight_sum", "weight_sum_rest"].map(Slot::scalar)
}

/// Whether powers stay in the range of f32, whatever k is.
pub(super) fn check_powers(r: f64, weight_lr_power: f64) -> Result<(), OutOfRange> {
    for (name, found) in [("r", r), ("weight_lr_power", weight_lr_power)] {
        range::check((0.0..=4.0).contains(&found), name, "in [0, 4]", found)?;
    }
    Ok(())
}

/// Whether a momentum divides.
pub(super) fn check_momentum(name: &'static str, found: f64) -> Result<(), OutOfRange> {
    range::check(found > 0.0 && found < 1.0, name, "in (0, 1)", found)
}

/// `ScheduleFree` of `functions/schedule_free.wgsl`.
pub(super) fn schedule(
    warmup_steps: u32,
    r: f64,
    weight_lr_power: f64,
) -> [(&'static str, f64); 5] {
    let (r, power) = (split(r), split(weight_lr_power));
    [
        ("warmup_steps", warmup_steps.into()),
        ("r_hi", r.0),
        ("r_lo", r.1),
        ("power_hi", power.0),
        ("power_lo", power.1),
    ]
}

impl Rule for ScheduleFreeAdamW {
    fn source(&self) -> Source {
        SCHEDULEFREE_ADAMW
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        check_momentum("betas[0]", self.betas.0)?;
        range::beta("betas[1]", self.betas.1)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        check_powers(self.r, self.weight_lr_power)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        let mut slots = vec![Slot::moment("z").exact(), Slot::moment("exp_avg_sq").unsigned()];
        slots.extend(schedule_slots());
        slots
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("evaluated_at", 1.0 - 1.0 / beta1),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        let mut hyper =
            vec![("beta1", beta1), ("one_minus_beta1", 1.0 - beta1), ("ln_beta2", ln_beta(beta2))];
        hyper.extend(schedule(self.warmup_steps, self.r, self.weight_lr_power));
        hyper
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        Some(SQUARED_BOUND_EXPONENT)
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
