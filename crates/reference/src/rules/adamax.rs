//! Twin of `shaders/rules/adamax.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{bias_correction, exact_bias_correction, l2, lerp, maximum};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 2e-3, "weight_decay": 0.0}"#,
    r#"{"lr": 1e-2, "betas": [0.8, 0.97], "eps": 1e-3, "weight_decay": 0.1, "maximize": true}"#,
    r#"{"lr": 2e-3, "eps": 0.0}"#,
];

/// `torch.optim.Adamax`, but for 0 / 0.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Adamax {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for Adamax {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for Adamax {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element), ("exp_inf", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr / bias_correction(t, self.betas.0), 0.0, 0.0, 0.0]
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let [exp_avg, exp_inf] = state else { panic!("two slots") };
        let (beta1, beta2) = self.betas;
        let decayed = l2(grad, self.weight_decay as f32, *param);
        *exp_avg = lerp(*exp_avg, decayed, (1.0 - beta1) as f32);
        *exp_inf = maximum(beta2 as f32 * *exp_inf, decayed.abs() + self.eps as f32);
        let is_zero = *exp_inf < f32::MIN_POSITIVE;
        *param -= if is_zero { 0.0 } else { scalars[0] * *exp_avg / *exp_inf };
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        [lr / exact_bias_correction(t, self.betas.0), 0.0, 0.0, 0.0]
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [exp_avg, exp_inf] = state else { panic!("two slots") };
        let (beta1, beta2) = self.betas;
        let grad = l2(grad, self.weight_decay, *param);
        *exp_avg += (1.0 - beta1) * (grad - *exp_avg);
        *exp_inf = maximum(beta2 * *exp_inf, grad.abs() + self.eps);
        if *exp_inf != 0.0 {
            *param -= scalars[0] * *exp_avg / *exp_inf;
        }
    }
}
