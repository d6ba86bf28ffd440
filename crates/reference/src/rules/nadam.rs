//! Twin of `shaders/rules/nadam.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{bias_correction, exact_bias_correction, expm1, l2, lerp};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3, "weight_decay": 0.1}"#,
    r#"{"lr": 1e-3, "betas": [0.8, 0.97], "eps": 1e-4, "weight_decay": 0.1, "momentum_decay": 0.1,
        "decoupled_weight_decay": true, "maximize": true}"#,
];

/// `torch.optim.NAdam`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct NAdam {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    momentum_decay: f64,
    decoupled_weight_decay: bool,
    maximize: bool,
}

impl Default for NAdam {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            momentum_decay: 4e-3,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

impl NAdam {
    /// The L2 penalty and the decoupled decay, of which one is 0.
    fn decays(&self) -> (f64, f64) {
        if self.decoupled_weight_decay {
            (0.0, self.weight_decay)
        } else {
            (self.weight_decay, 0.0)
        }
    }

    fn half_decayed(&self, t: f32) -> f32 {
        0.5 * (expm1(t * (0.96f64.ln() * self.momentum_decay) as f32) + 1.0)
    }

    fn mu(&self, t: f32) -> f32 {
        self.betas.0 as f32 * (1.0 - self.half_decayed(t))
    }

    fn exact_mu(&self, t: u32) -> f64 {
        self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(f64::from(t) * self.momentum_decay))
    }
}

impl Rule for NAdam {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element), ("exp_avg_sq", Extent::Element)]
    }

    fn kept(&self) -> &'static [&'static str] {
        &["mu_product"]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, kept: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2) = self.betas;
        let elapsed = t as f32;
        kept[0] = if t == 1 { 1.0 } else { kept[0] } * self.mu(elapsed);
        let mu_next = self.mu(elapsed + 1.0);
        let one_minus_mu = (1.0 - beta1) as f32 + beta1 as f32 * self.half_decayed(elapsed);
        [
            lr * one_minus_mu / (1.0 - kept[0]),
            lr * mu_next / (1.0 - kept[0] * mu_next),
            1.0 / bias_correction(t, beta2).sqrt(),
            1.0 - lr * self.decays().1 as f32,
        ]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[3]
    }

    fn twin(
        &self,
        _: u32,
        &[grad_size, avg_size, bias_correction2_rsqrt, decay]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let (beta1, beta2) = self.betas;
        let decayed = l2(grad, self.decays().0 as f32, *param);
        state[0] = lerp(state[0], decayed, (1.0 - beta1) as f32);
        state[1] = beta2 as f32 * state[1] + (1.0 - beta2) as f32 * decayed * decayed;
        let denominator = state[1].sqrt() * bias_correction2_rsqrt + self.eps as f32;
        let blend = grad_size * decayed + avg_size * state[0];
        *param = *param * decay - blend / denominator;
    }

    fn exact_scalars(&self, t: u32, lr: f64, kept: &mut Scalars<f64>) -> Scalars<f64> {
        let (mu, mu_next) = (self.exact_mu(t), self.exact_mu(t + 1));
        kept[0] = if t == 1 { 1.0 } else { kept[0] } * mu;
        [
            lr * (1.0 - mu) / (1.0 - kept[0]),
            lr * mu_next / (1.0 - kept[0] * mu_next),
            1.0 / exact_bias_correction(t, self.betas.1).sqrt(),
            1.0 - lr * self.decays().1,
        ]
    }

    fn oracle(
        &self,
        _: u32,
        &[grad_size, avg_size, bias_correction2_rsqrt, decay]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let (beta1, beta2) = self.betas;
        let grad = l2(grad, self.decays().0, *param);
        state[0] += (1.0 - beta1) * (grad - state[0]);
        state[1] = beta2 * state[1] + (1.0 - beta2) * grad * grad;
        let denominator = state[1].sqrt() * bias_correction2_rsqrt + self.eps;
        *param *= decay;
        *param -= grad_size * grad / denominator;
        *param -= avg_size * state[0] / denominator;
    }
}
