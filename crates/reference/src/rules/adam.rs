//! Twin of `shaders/rules/adam.wgsl`.

use crate::{
    Hyper,
    control::Scalars,
    shared::{l2, lerp, maximum},
};

/// The shader's order of operations, in f32.
pub fn twin(hyper: &Hyper, scalars: &Scalars, param: &mut f32, grad: f32, state: &mut [f32; 3]) {
    let decayed = l2(grad, hyper.weight_decay as f32, *param);
    *param -= step(hyper, scalars, decayed, state);
}

/// `torch.optim.Adam`, in f64.
pub fn oracle(hyper: &Hyper, lr: f64, t: u32, param: &mut f64, grad: f64, state: &mut [f64; 3]) {
    let grad = l2(grad, hyper.weight_decay, *param);
    *param -= oracle_step(hyper, lr, t, grad, state);
}

/// What Adam and AdamW have in common: the moments, and how far to go.
pub(super) fn step(
    hyper: &Hyper,
    scalars: &Scalars,
    grad: f32,
    [exp_avg, exp_avg_sq, max_exp_avg_sq]: &mut [f32; 3],
) -> f32 {
    let (beta1, beta2) = hyper.betas;
    *exp_avg = lerp(*exp_avg, grad, (1.0 - beta1) as f32);
    *exp_avg_sq = beta2 as f32 * *exp_avg_sq + (1.0 - beta2) as f32 * grad * grad;
    let mut largest = *exp_avg_sq;
    if hyper.amsgrad {
        *max_exp_avg_sq = maximum(*max_exp_avg_sq, *exp_avg_sq);
        largest = *max_exp_avg_sq;
    }
    let denominator = largest.sqrt() * scalars.bias_correction2_rsqrt + hyper.eps as f32;
    scalars.step_size * *exp_avg / denominator
}

pub(super) fn oracle_step(
    hyper: &Hyper,
    lr: f64,
    t: u32,
    grad: f64,
    [exp_avg, exp_avg_sq, max_exp_avg_sq]: &mut [f64; 3],
) -> f64 {
    let (beta1, beta2) = hyper.betas;
    // 1 - beta^t without cancellation.
    let correction = |beta: f64| -(f64::from(t) * beta.ln()).exp_m1();
    *exp_avg += (1.0 - beta1) * (grad - *exp_avg);
    *exp_avg_sq = beta2 * *exp_avg_sq + (1.0 - beta2) * grad * grad;
    let mut largest = *exp_avg_sq;
    if hyper.amsgrad {
        *max_exp_avg_sq = maximum(*max_exp_avg_sq, *exp_avg_sq);
        largest = *max_exp_avg_sq;
    }
    let denominator = largest.sqrt() / correction(beta2).sqrt() + hyper.eps;
    lr / correction(beta1) * *exp_avg / denominator
}
