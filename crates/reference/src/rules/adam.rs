//! Twin of `shaders/rules/adam.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{bias_correction, exact_bias_correction, l2, lerp, maximum};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}"#,
    r#"{"lr": 1e-3, "betas": [0.85, 0.97], "eps": 1e-3, "weight_decay": 0.1, "amsgrad": true}"#,
    r#"{"lr": 1e-3, "betas": [0.3, 0.9999], "eps": 1e-6, "weight_decay": 0.1, "maximize": true}"#,
];

/// The slots of Adam and AdamW.
pub(super) const SLOTS: [Slot; 3] = [
    ("exp_avg", Extent::Element),
    ("exp_avg_sq", Extent::Element),
    ("max_exp_avg_sq", Extent::Element),
];

/// `torch.optim.Adam`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Adam {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
}

impl Default for Adam {
    fn default() -> Self {
        let betas = (0.9, 0.999);
        Self { betas, eps: 1e-8, weight_decay: 0.0, amsgrad: false, maximize: false }
    }
}

impl Rule for Adam {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &SLOTS
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        corrections(self.betas, t, lr)
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let decayed = l2(grad, self.weight_decay as f32, *param);
        *param -= step(self.betas, self.eps, self.amsgrad, scalars, decayed, state);
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        exact_corrections(self.betas, t, lr)
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let decayed = l2(grad, self.weight_decay, *param);
        *param -= oracle_step(self.betas, self.eps, self.amsgrad, scalars, decayed, state);
    }
}

/// `lr / (1 - β1^t)` and `1 / √(1 - β2^t)`.
pub(super) fn corrections((beta1, beta2): (f64, f64), t: u32, lr: f32) -> Scalars<f32> {
    [lr / bias_correction(t, beta1), 1.0 / bias_correction(t, beta2).sqrt(), 0.0, 0.0]
}

pub(super) fn exact_corrections((beta1, beta2): (f64, f64), t: u32, lr: f64) -> Scalars<f64> {
    let second = exact_bias_correction(t, beta2).sqrt();
    [lr / exact_bias_correction(t, beta1), 1.0 / second, 0.0, 0.0]
}

/// What Adam and AdamW have in common: the moments, and how far to go.
pub(super) fn step(
    (beta1, beta2): (f64, f64),
    eps: f64,
    amsgrad: bool,
    &[step_size, bias_correction2_rsqrt, ..]: &Scalars<f32>,
    grad: f32,
    state: &mut [f32],
) -> f32 {
    let [exp_avg, exp_avg_sq, max_exp_avg_sq] = state else { panic!("three slots") };
    *exp_avg = lerp(*exp_avg, grad, (1.0 - beta1) as f32);
    *exp_avg_sq = beta2 as f32 * *exp_avg_sq + (1.0 - beta2) as f32 * grad * grad;
    let mut largest = *exp_avg_sq;
    if amsgrad {
        *max_exp_avg_sq = maximum(*max_exp_avg_sq, *exp_avg_sq);
        largest = *max_exp_avg_sq;
    }
    let denominator = largest.sqrt() * bias_correction2_rsqrt + eps as f32;
    step_size * *exp_avg / denominator
}

pub(super) fn oracle_step(
    (beta1, beta2): (f64, f64),
    eps: f64,
    amsgrad: bool,
    &[step_size, bias_correction2_rsqrt, ..]: &Scalars<f64>,
    grad: f64,
    state: &mut [f64],
) -> f64 {
    let [exp_avg, exp_avg_sq, max_exp_avg_sq] = state else { panic!("three slots") };
    *exp_avg += (1.0 - beta1) * (grad - *exp_avg);
    *exp_avg_sq = beta2 * *exp_avg_sq + (1.0 - beta2) * grad * grad;
    let mut largest = *exp_avg_sq;
    if amsgrad {
        *max_exp_avg_sq = maximum(*max_exp_avg_sq, *exp_avg_sq);
        largest = *max_exp_avg_sq;
    }
    step_size * *exp_avg / (largest.sqrt() * bias_correction2_rsqrt + eps)
}
