//! Twin of `shaders/rules/sgd.wgsl`.

use crate::{Hyper, control::Scalars, shared::l2};

/// The shader's order of operations, in f32.
pub fn twin(hyper: &Hyper, scalars: &Scalars, param: &mut f32, grad: f32, state: &mut [f32; 3]) {
    let momentum = hyper.momentum as f32;
    let decayed = l2(grad, hyper.weight_decay as f32, *param);
    let mut direction = decayed;
    if hyper.momentum != 0.0 {
        let averaged = momentum * state[0] + (1.0 - hyper.dampening) as f32 * decayed;
        state[0] = if scalars.step == 1 { decayed } else { averaged };
        direction = state[0];
    }
    if hyper.nesterov {
        direction = decayed + momentum * state[0];
    }
    *param -= scalars.step_size * direction;
}

/// `torch.optim.SGD`, in f64.
pub fn oracle(hyper: &Hyper, lr: f64, t: u32, param: &mut f64, grad: f64, state: &mut [f64; 3]) {
    let grad = l2(grad, hyper.weight_decay, *param);
    if hyper.momentum == 0.0 {
        *param -= lr * grad;
        return;
    }
    state[0] = match t {
        1 => grad,
        _ => hyper.momentum * state[0] + (1.0 - hyper.dampening) * grad,
    };
    *param -= lr * if hyper.nesterov { grad + hyper.momentum * state[0] } else { state[0] };
}
