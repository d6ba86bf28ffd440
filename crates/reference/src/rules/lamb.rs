//! Twin of `shaders/rules/lamb.wgsl`.

use super::{Extent, Rule, Scalars, Scope, Slot};
use crate::functions::{bias_correction, exact_bias_correction, l2, lerp};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2}"#,
    r#"{"lr": 1e-2, "betas": [0.8, 0.97], "eps": 1e-3, "weight_decay": 0.1, "maximize": true}"#,
];

/// `optax.lamb`, with a trust ratio of 1 also where a norm is not finite.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Lamb {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for Lamb {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

impl Lamb {
    /// The direction, from the moments as they become.
    fn direction(&self, scalars: &Scalars<f64>, param: f64, moments: [f64; 2]) -> f64 {
        let denominator = moments[1].sqrt() * scalars[2] + self.eps;
        l2(moments[0] * scalars[1] / denominator, self.weight_decay, param)
    }

    fn moments(&self, grad: f64, state: &[f64]) -> [f64; 2] {
        let (beta1, beta2) = self.betas;
        let exp_avg = state[0] + (1.0 - beta1) * (grad - state[0]);
        [exp_avg, beta2 * state[1] + (1.0 - beta2) * grad * grad]
    }
}

impl Rule for Lamb {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element), ("exp_avg_sq", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2) = self.betas;
        let second = 1.0 / bias_correction(t, beta2).sqrt();
        [lr, 1.0 / bias_correction(t, beta1), second, 0.0]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2) = self.betas;
        let second = 1.0 / exact_bias_correction(t, beta2).sqrt();
        [lr, 1.0 / exact_bias_correction(t, beta1), second, 0.0]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn terms(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: f64,
        grad: f64,
        state: &[f64],
    ) -> [f64; 2] {
        let direction = self.direction(scalars, param, self.moments(grad, state));
        [param * param, direction * direction]
    }

    fn decide(
        &self,
        [params, directions]: [f64; 2],
        _: usize,
        scalars: Scalars<f64>,
        _: &Scalars<f64>,
    ) -> Scalars<f64> {
        let is_positive = |sum: f64| sum > 0.0 && sum.is_finite();
        let is_trusted = is_positive(params) && is_positive(directions);
        let trust = if is_trusted { (params / directions).sqrt() } else { 1.0 };
        [scalars[0] * trust, scalars[1], scalars[2], 0.0]
    }

    fn size(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[0]
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let (beta1, beta2) = self.betas;
        state[0] = lerp(state[0], grad, (1.0 - beta1) as f32);
        state[1] = beta2 as f32 * state[1] + (1.0 - beta2) as f32 * grad * grad;
        let denominator = state[1].sqrt() * scalars[2] + self.eps as f32;
        let direction = l2(state[0] * scalars[1] / denominator, self.weight_decay as f32, *param);
        *param -= scalars[0] * direction;
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let moments = self.moments(grad, state);
        *param -= scalars[0] * self.direction(scalars, *param, moments);
        state.copy_from_slice(&moments);
    }
}
