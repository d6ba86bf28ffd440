//! Twin of `shaders/rules/lion.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::sign;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.1}"#,
    r#"{"lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.1, "maximize": true}"#,
];

/// `lion_pytorch.Lion`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Lion {
    betas: (f64, f64),
    weight_decay: f64,
    maximize: bool,
}

impl Default for Lion {
    fn default() -> Self {
        Self { betas: (0.9, 0.99), weight_decay: 0.0, maximize: false }
    }
}

impl Rule for Lion {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element)]
    }

    fn jumps(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 1.0 - lr * self.weight_decay as f32, 0.0, 0.0]
    }

    fn decay(&self, lr: f64, _: &Scalars<f64>) -> f64 {
        1.0 - lr * self.weight_decay
    }

    fn twin(
        &self,
        _: u32,
        &[lr, decay, ..]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let (beta1, beta2) = self.betas;
        let blend = |beta: f64, average: f32| beta as f32 * average + (1.0 - beta) as f32 * grad;
        let direction = sign(blend(beta1, state[0]).into()) as f32;
        state[0] = blend(beta2, state[0]);
        *param = *param * decay - lr * direction;
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let (beta1, beta2) = self.betas;
        let lr = scalars[0];
        *param *= 1.0 - lr * self.weight_decay;
        *param -= lr * sign(beta1 * state[0] + (1.0 - beta1) * grad);
        state[0] = beta2 * state[0] + (1.0 - beta2) * grad;
    }
}
