//! Twin of `shaders/rules/adan.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{bias_correction, exact_bias_correction, lerp};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3, "weight_decay": 0.1}"#,
    r#"{"lr": 1e-3, "betas": [0.9, 0.8, 0.95], "eps": 1e-4, "weight_decay": 0.1, "no_prox": true,
        "maximize": true}"#,
];

/// `Adan` of sail-sg/Adan, without its clipping.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Adan {
    betas: (f64, f64, f64),
    eps: f64,
    weight_decay: f64,
    no_prox: bool,
    maximize: bool,
}

impl Default for Adan {
    fn default() -> Self {
        Self {
            betas: (0.98, 0.92, 0.99),
            eps: 1e-8,
            weight_decay: 0.0,
            no_prox: false,
            maximize: false,
        }
    }
}

impl Adan {
    /// The weight decay behind the update and that with it, of which one is 0.
    fn decays(&self) -> (f64, f64) {
        if self.no_prox { (0.0, self.weight_decay) } else { (self.weight_decay, 0.0) }
    }
}

impl Rule for Adan {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[
            ("exp_avg", Extent::Element),
            ("exp_avg_sq", Extent::Element),
            ("exp_avg_diff", Extent::Element),
            ("neg_pre_grad", Extent::Element),
        ]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2, beta3) = self.betas;
        let (proximal, decoupled) = self.decays();
        let shrink = 1.0 / (1.0 + lr * proximal as f32);
        [
            lr / bias_correction(t, beta1) * shrink,
            lr * beta2 as f32 / bias_correction(t, beta2) * shrink,
            1.0 / bias_correction(t, beta3).sqrt(),
            (1.0 - lr * decoupled as f32) * shrink,
        ]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2, beta3) = self.betas;
        let (proximal, decoupled) = self.decays();
        let shrink = 1.0 / (1.0 + lr * proximal);
        [
            lr / exact_bias_correction(t, beta1) * shrink,
            lr * beta2 / exact_bias_correction(t, beta2) * shrink,
            1.0 / exact_bias_correction(t, beta3).sqrt(),
            (1.0 - lr * decoupled) * shrink,
        ]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[3]
    }

    fn twin(
        &self,
        t: u32,
        &[avg_size, diff_size, bias_correction3_rsqrt, decay]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [exp_avg, exp_avg_sq, exp_avg_diff, neg_pre_grad] = state else { panic!("four slots") };
        let (beta1, beta2, beta3) = self.betas;
        let difference = if t == 1 { 0.0 } else { grad + *neg_pre_grad };
        *exp_avg = lerp(*exp_avg, grad, (1.0 - beta1) as f32);
        *exp_avg_diff = lerp(*exp_avg_diff, difference, (1.0 - beta2) as f32);
        let ahead = grad + beta2 as f32 * difference;
        *exp_avg_sq = beta3 as f32 * *exp_avg_sq + (1.0 - beta3) as f32 * ahead * ahead;
        *neg_pre_grad = -grad;
        let blend = avg_size * *exp_avg + diff_size * *exp_avg_diff;
        let denominator = exp_avg_sq.sqrt() * bias_correction3_rsqrt + self.eps as f32;
        *param = *param * decay - blend / denominator;
    }

    fn oracle(
        &self,
        t: u32,
        &[avg_size, diff_size, bias_correction3_rsqrt, decay]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [exp_avg, exp_avg_sq, exp_avg_diff, neg_pre_grad] = state else { panic!("four slots") };
        let (beta1, beta2, beta3) = self.betas;
        let difference = if t == 1 { 0.0 } else { grad + *neg_pre_grad };
        *exp_avg += (1.0 - beta1) * (grad - *exp_avg);
        *exp_avg_diff += (1.0 - beta2) * (difference - *exp_avg_diff);
        *exp_avg_sq = beta3 * *exp_avg_sq + (1.0 - beta3) * (grad + beta2 * difference).powi(2);
        *neg_pre_grad = -grad;
        let denominator = exp_avg_sq.sqrt() * bias_correction3_rsqrt + self.eps;
        *param *= decay;
        *param -= avg_size * *exp_avg / denominator;
        *param -= diff_size * *exp_avg_diff / denominator;
    }
}
