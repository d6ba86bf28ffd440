//! Twin of `shaders/rules/lars.wgsl`.

use super::{Extent, Rule, Scalars, Scope, Slot};
use crate::functions::l2;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2, "trust_coefficient": 0.1}"#,
    r#"{"lr": 3e-3, "weight_decay": 0.1, "trust_coefficient": 0.5, "eps": 0.5, "momentum": 0.8,
        "nesterov": true, "maximize": true}"#,
    r#"{"lr": 2.0, "weight_decay": 0.1, "momentum": 0.0, "nesterov": true}"#,
];

/// `optax.lars`, with a trust ratio of 1 also where a norm is not finite.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Lars {
    weight_decay: f64,
    trust_coefficient: f64,
    eps: f64,
    momentum: f64,
    nesterov: bool,
    maximize: bool,
}

impl Default for Lars {
    fn default() -> Self {
        Self {
            weight_decay: 0.0,
            trust_coefficient: 1e-3,
            eps: 0.0,
            momentum: 0.9,
            nesterov: false,
            maximize: false,
        }
    }
}

impl Rule for Lars {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("momentum_buffer", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 0.0, 0.0, 0.0]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn terms(&self, _: u32, _: &Scalars<f64>, param: f64, grad: f64, _: &[f64]) -> [f64; 2] {
        let decayed = l2(grad, self.weight_decay, param);
        [param * param, decayed * decayed]
    }

    fn decide(
        &self,
        sums: [f64; 2],
        _: usize,
        [lr, ..]: Scalars<f64>,
        _: &Scalars<f64>,
    ) -> Scalars<f64> {
        let is_trusted = sums.iter().all(|sum| *sum > 0.0 && sum.is_finite());
        let [param, grad] = sums.map(f64::sqrt);
        let trust =
            if is_trusted { self.trust_coefficient * param / (grad + self.eps) } else { 1.0 };
        [lr * trust, 0.0, 0.0, 0.0]
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let momentum = self.momentum as f32;
        let scaled = scalars[0] * l2(grad, self.weight_decay as f32, *param);
        let mut direction = -scaled;
        if self.momentum != 0.0 {
            state[0] = momentum * state[0] - scaled;
            direction = if self.nesterov { momentum * state[0] - scaled } else { state[0] };
        }
        *param += direction;
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let step = -scalars[0] * l2(grad, self.weight_decay, *param);
        let buffer = step + self.momentum * state[0];
        *param += if self.nesterov { step + self.momentum * buffer } else { buffer };
        if self.momentum != 0.0 {
            state[0] = buffer;
        }
    }
}
