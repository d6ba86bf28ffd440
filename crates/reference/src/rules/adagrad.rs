//! Twin of `shaders/rules/adagrad.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::l2;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2, "weight_decay": 0.0}"#,
    r#"{"lr": 5e-2, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-3,
        "maximize": true}"#,
];

/// `torch.optim.Adagrad`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Adagrad {
    lr_decay: f64,
    weight_decay: f64,
    initial_accumulator_value: f64,
    eps: f64,
    maximize: bool,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self {
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            eps: 1e-10,
            maximize: false,
        }
    }
}

impl Rule for Adagrad {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("sum", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr / (1.0 + (t as f32 - 1.0) * self.lr_decay as f32), 0.0, 0.0, 0.0]
    }

    fn twin(&self, t: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let decayed = l2(grad, self.weight_decay as f32, *param);
        let before = if t == 1 { self.initial_accumulator_value as f32 } else { state[0] };
        state[0] = before + decayed * decayed;
        *param -= scalars[0] * decayed / (state[0].sqrt() + self.eps as f32);
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        [lr / (1.0 + (f64::from(t) - 1.0) * self.lr_decay), 0.0, 0.0, 0.0]
    }

    fn oracle(
        &self,
        t: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let grad = l2(grad, self.weight_decay, *param);
        if t == 1 {
            state[0] = self.initial_accumulator_value;
        }
        state[0] += grad * grad;
        *param -= scalars[0] * grad / (state[0].sqrt() + self.eps);
    }
}
