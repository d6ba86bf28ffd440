//! Twin of `shaders/rules/schedulefree_adamw.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::{
    functions::{bias_correction, exact_bias_correction, l2},
    schedule_free::{KEPT, Schedule, way},
};

/// Options that tests step it with. (With a c near 1/2, y and z may cancel.)
pub const CASES: &[&str] = &[
    r#"{"lr": 2.5e-3}"#,
    r#"{"lr": 1e-2, "betas": [0.8, 0.99], "eps": 1e-3, "weight_decay": 0.1, "warmup_steps": 100,
        "r": 0.125, "weight_lr_power": 1.5}"#,
    r#"{"lr": 1e-2, "betas": [0.95, 0.0], "eps": 1e-4, "r": 1.0, "weight_lr_power": 4.0}"#,
];

/// `schedulefree.AdamWScheduleFree`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct ScheduleFreeAdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    warmup_steps: u32,
    r: f64,
    weight_lr_power: f64,
}

impl Default for ScheduleFreeAdamW {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            warmup_steps: 0,
            r: 0.0,
            weight_lr_power: 2.0,
        }
    }
}

impl ScheduleFreeAdamW {
    fn schedule(&self) -> Schedule {
        let Self { warmup_steps, r, weight_lr_power, .. } = *self;
        Schedule { warmup_steps, r, weight_lr_power }
    }
}

impl Rule for ScheduleFreeAdamW {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("z", Extent::Element), ("exp_avg_sq", Extent::Element)]
    }

    fn kept(&self) -> &'static [&'static str] {
        KEPT
    }

    fn keeps_without_grad(&self) -> bool {
        true
    }

    /// The learning rate, c, how far y goes against the gradient, the bias correction.
    fn scalars(&self, _: u32, lr: f32, kept: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2) = self.betas;
        let [lr, c] = self.schedule().next(lr, kept);
        let step_size = lr * ((1.0 - beta1) as f32 + beta1 as f32 * c);
        [lr, c, step_size, 1.0 / bias_correction(kept[0] as u32, beta2).sqrt()]
    }

    fn exact_scalars(&self, _: u32, lr: f64, kept: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2) = self.betas;
        let [lr, c] = self.schedule().exact_next(lr, kept);
        let correction = exact_bias_correction(kept[0] as u32, beta2);
        [lr, c, lr * (1.0 - beta1 * (1.0 - c)), 1.0 / correction.sqrt()]
    }

    fn evaluated(&self, param: f32, state: &[f32]) -> f32 {
        param + (1.0 - 1.0 / self.betas.0) as f32 * way(param, state[0])
    }

    fn exact_evaluated(&self, param: f64, state: &[f64]) -> f64 {
        param + (1.0 - 1.0 / self.betas.0) * way(param, state[0])
    }

    fn twin(
        &self,
        t: u32,
        &[lr, c, step_size, correction]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [z, exp_avg_sq] = state else { panic!("two slots") };
        let (y, beta2) = (*param, self.betas.1);
        *exp_avg_sq = beta2 as f32 * *exp_avg_sq + (1.0 - beta2) as f32 * grad * grad;
        let scaled = grad / (exp_avg_sq.sqrt() * correction + self.eps as f32);
        let scaled = l2(scaled, self.weight_decay as f32, y);
        if t == 1 {
            *z = y;
        }
        *param = y - (step_size * scaled - c * way(y, *z));
        *z -= lr * scaled;
    }

    fn oracle(
        &self,
        t: u32,
        &[lr, c, step_size, correction]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [z, exp_avg_sq] = state else { panic!("two slots") };
        let (y, beta2) = (*param, self.betas.1);
        if t == 1 {
            *z = y;
        }
        *exp_avg_sq = beta2 * *exp_avg_sq + (1.0 - beta2) * grad * grad;
        let scaled = grad / (exp_avg_sq.sqrt() * correction + self.eps);
        let scaled = l2(scaled, self.weight_decay, y);
        *param = y + c * way(y, *z) - step_size * scaled;
        *z -= lr * scaled;
    }
}
