//! Twin of `shaders/rules/stable_adamw.wgsl`.

use super::{Extent, Rule, Scalars, Scope, Slot};
use crate::functions::{bias_correction, exact_bias_correction, lerp};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3}"#,
    r#"{"lr": 1e-2, "betas": [0.8, 0.97], "eps": 0.3, "weight_decay": 0.1, "maximize": true}"#,
];

/// `optimi.StableAdamW`, with an eps² that f32 has.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct StableAdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for StableAdamW {
    fn default() -> Self {
        Self { betas: (0.9, 0.99), eps: 1e-6, weight_decay: 1e-2, maximize: false }
    }
}

impl Rule for StableAdamW {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element), ("exp_avg_sq", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    /// The learning rate, the weights of both averages, the decay.
    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let weight = |beta: f64| (1.0 - beta) as f32 / bias_correction(t, beta);
        let (beta1, beta2) = self.betas;
        [lr, weight(beta1), weight(beta2), 1.0 - lr * self.weight_decay as f32]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let weight = |beta: f64| (1.0 - beta) / exact_bias_correction(t, beta);
        let (beta1, beta2) = self.betas;
        [lr, weight(beta1), weight(beta2), 1.0 - lr * self.weight_decay]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn terms(&self, _: u32, scalars: &Scalars<f64>, _: f64, grad: f64, state: &[f64]) -> [f64; 2] {
        let exp_avg_sq = state[1] + scalars[2] * (grad * grad - state[1]);
        let least = (self.eps * self.eps).max(f32::MIN_POSITIVE.into());
        [grad * grad / exp_avg_sq.max(least), 0.0]
    }

    fn decide(
        &self,
        sums: [f64; 2],
        count: usize,
        [lr, avg_weight, sq_weight, _]: Scalars<f64>,
        _: &Scalars<f64>,
    ) -> Scalars<f64> {
        let rms = (sums[0] / count.max(1) as f64).sqrt();
        let step_size = if rms.is_finite() { lr / rms.max(1.0) } else { lr };
        [step_size, avg_weight, sq_weight, 1.0 - step_size * self.weight_decay]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[3]
    }

    fn size(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[0]
    }

    fn twin(
        &self,
        _: u32,
        &[step_size, avg_weight, sq_weight, decay]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        state[0] = lerp(state[0], grad, avg_weight);
        state[1] = lerp(state[1], grad * grad, sq_weight);
        let direction = state[0] / (state[1].sqrt() + self.eps as f32);
        *param = *param * decay - step_size * direction;
    }

    fn oracle(
        &self,
        _: u32,
        &[step_size, avg_weight, sq_weight, decay]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        state[0] += avg_weight * (grad - state[0]);
        state[1] += sq_weight * (grad * grad - state[1]);
        *param = *param * decay - step_size * state[0] / (state[1].sqrt() + self.eps);
    }
}
