//! Twin of `shaders/rules/adamw.wgsl`.

use super::adam::{oracle_step, step};
use crate::{Hyper, control::Scalars};

/// The shader's order of operations, in f32.
pub fn twin(hyper: &Hyper, scalars: &Scalars, param: &mut f32, grad: f32, state: &mut [f32; 3]) {
    *param = *param * scalars.decay - step(hyper, scalars, grad, state);
}

/// `torch.optim.AdamW`, in f64.
pub fn oracle(hyper: &Hyper, lr: f64, t: u32, param: &mut f64, grad: f64, state: &mut [f64; 3]) {
    *param *= 1.0 - lr * hyper.weight_decay;
    *param -= oracle_step(hyper, lr, t, grad, state);
}
