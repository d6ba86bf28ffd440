//! Twin of `shaders/rules/lion.wgsl`.

use crate::{Hyper, control::Scalars};

/// The shader's order of operations, in f32.
pub fn twin(hyper: &Hyper, scalars: &Scalars, param: &mut f32, grad: f32, state: &mut [f32; 3]) {
    let (beta1, beta2) = hyper.betas;
    let blend = |beta: f64, average: f32| beta as f32 * average + (1.0 - beta) as f32 * grad;
    let direction = sign(blend(beta1, state[0]).into()) as f32;
    state[0] = blend(beta2, state[0]);
    *param = *param * scalars.decay - scalars.step_size * direction;
}

/// `lion_pytorch.Lion`, in f64.
pub fn oracle(hyper: &Hyper, lr: f64, _t: u32, param: &mut f64, grad: f64, state: &mut [f64; 3]) {
    let (beta1, beta2) = hyper.betas;
    *param *= 1.0 - lr * hyper.weight_decay;
    *param -= lr * sign(beta1 * state[0] + (1.0 - beta1) * grad);
    state[0] = beta2 * state[0] + (1.0 - beta2) * grad;
}

/// -1, 0 or 1; the sign of zero is zero, unlike Rust's `signum`.
fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}
