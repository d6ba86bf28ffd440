//! Twin of `shaders/rules/schedulefree_sgd.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::{
    functions::l2,
    schedule_free::{KEPT, Schedule, way},
};

/// Options that tests step it with. (With a c near 1/2, y and z may cancel.)
pub const CASES: &[&str] = &[
    r#"{"lr": 0.1}"#,
    r#"{"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "warmup_steps": 100, "r": 0.125,
        "weight_lr_power": 1.5}"#,
    r#"{"lr": 0.05, "momentum": 0.5, "r": 1.0, "weight_lr_power": 4.0}"#,
];

/// `schedulefree.SGDScheduleFree`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct ScheduleFreeSgd {
    momentum: f64,
    weight_decay: f64,
    warmup_steps: u32,
    r: f64,
    weight_lr_power: f64,
}

impl Default for ScheduleFreeSgd {
    fn default() -> Self {
        Self { momentum: 0.9, weight_decay: 0.0, warmup_steps: 0, r: 0.0, weight_lr_power: 2.0 }
    }
}

impl ScheduleFreeSgd {
    fn schedule(&self) -> Schedule {
        let Self { warmup_steps, r, weight_lr_power, .. } = *self;
        Schedule { warmup_steps, r, weight_lr_power }
    }
}

impl Rule for ScheduleFreeSgd {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("z", Extent::Element)]
    }

    fn kept(&self) -> &'static [&'static str] {
        KEPT
    }

    fn keeps_without_grad(&self) -> bool {
        true
    }

    /// The learning rate, c, how far y goes against the gradient.
    fn scalars(&self, _: u32, lr: f32, kept: &mut Scalars<f32>) -> Scalars<f32> {
        let [lr, c] = self.schedule().next(lr, kept);
        let step_size = lr * ((1.0 - self.momentum) as f32 + self.momentum as f32 * c);
        [lr, c, step_size, 0.0]
    }

    fn exact_scalars(&self, _: u32, lr: f64, kept: &mut Scalars<f64>) -> Scalars<f64> {
        let [lr, c] = self.schedule().exact_next(lr, kept);
        [lr, c, lr * (1.0 - self.momentum * (1.0 - c)), 0.0]
    }

    fn evaluated(&self, param: f32, state: &[f32]) -> f32 {
        param + (1.0 - 1.0 / self.momentum) as f32 * way(param, state[0])
    }

    fn exact_evaluated(&self, param: f64, state: &[f64]) -> f64 {
        param + (1.0 - 1.0 / self.momentum) * way(param, state[0])
    }

    fn twin(
        &self,
        t: u32,
        &[lr, c, step_size, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let y = *param;
        let z = if t == 1 { y } else { state[0] };
        let penalized = l2(grad, self.weight_decay as f32, y);
        *param = y - (step_size * penalized - c * way(y, z));
        state[0] = z - lr * penalized;
    }

    fn oracle(
        &self,
        t: u32,
        &[lr, c, step_size, _]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let y = *param;
        let z = if t == 1 { y } else { state[0] };
        let penalized = l2(grad, self.weight_decay, y);
        *param = y + c * way(y, z) - step_size * penalized;
        state[0] = z - lr * penalized;
    }
}
