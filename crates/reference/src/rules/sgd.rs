//! Twin of `shaders/rules/sgd.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::l2;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2, "weight_decay": 0.1}"#,
    r#"{"lr": 1e-2, "weight_decay": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": true}"#,
    r#"{"lr": 1e-2, "weight_decay": 0.1, "momentum": 0.8, "nesterov": true}"#,
];

/// `torch.optim.SGD`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Sgd {
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
}

impl Rule for Sgd {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("momentum_buffer", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 0.0, 0.0, 0.0]
    }

    fn twin(&self, t: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let momentum = self.momentum as f32;
        let decayed = l2(grad, self.weight_decay as f32, *param);
        let mut direction = decayed;
        if self.momentum != 0.0 {
            let averaged = momentum * state[0] + (1.0 - self.dampening) as f32 * decayed;
            state[0] = if t == 1 { decayed } else { averaged };
            direction = state[0];
        }
        if self.nesterov {
            direction = decayed + momentum * state[0];
        }
        *param -= scalars[0] * direction;
    }

    fn oracle(
        &self,
        t: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let lr = scalars[0];
        let grad = l2(grad, self.weight_decay, *param);
        if self.momentum == 0.0 {
            *param -= lr * grad;
            return;
        }
        state[0] = match t {
            1 => grad,
            _ => self.momentum * state[0] + (1.0 - self.dampening) * grad,
        };
        *param -= lr * if self.nesterov { grad + self.momentum * state[0] } else { state[0] };
    }
}
