//! Twin of `shaders/rules/ademamix.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{bias_correction, exact_bias_correction, expm1, l2, lerp};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3}"#,
    r#"{"lr": 1e-3, "betas": [0.8, 0.97, 0.999], "alpha": 5.0, "alpha_warmup": 9, "beta3_warmup": 12,
        "eps": 1e-4, "weight_decay": 0.1, "maximize": true}"#,
    r#"{"lr": 1e-3, "betas": [0.9, 0.999, 0.9999], "alpha_warmup": 100000, "beta3_warmup": 9000000}"#,
];

/// `AdEMAMix` of apple/ml-ademamix, without what it adds to betas in their warm-up.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct AdEmaMix {
    betas: (f64, f64, f64),
    alpha: f64,
    alpha_warmup: Option<u32>,
    beta3_warmup: Option<u32>,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for AdEmaMix {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999, 0.9999),
            alpha: 2.0,
            alpha_warmup: None,
            beta3_warmup: None,
            eps: 1e-8,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

impl AdEmaMix {
    /// 1 - β3(t).
    fn exact_slow_weight(&self, t: u32) -> f64 {
        let (beta1, _, beta3) = self.betas;
        let warmup = self.beta3_warmup.unwrap_or(0);
        if t >= warmup {
            return 1.0 - beta3;
        }
        let risen = f64::from(t) / f64::from(warmup);
        -(1.0 / ((1.0 - risen) / beta1.ln() + risen / beta3.ln())).exp_m1()
    }

    fn slow_weight(&self, t: u32) -> f32 {
        let (beta1, _, beta3) = self.betas;
        let warmup = self.beta3_warmup.unwrap_or(0);
        if t >= warmup {
            return (1.0 - beta3) as f32;
        }
        let (elapsed, warmup) = (t as f32, warmup as f32);
        let [first, last] = [beta1, beta3].map(|beta| (1.0 / beta.ln()) as f32);
        -expm1(warmup / ((warmup - elapsed) * first + elapsed * last))
    }
}

impl Rule for AdEmaMix {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[
            ("exp_avg", Extent::Element),
            ("exp_avg_sq", Extent::Element),
            ("exp_avg_slow", Extent::Element),
        ]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2, _) = self.betas;
        let second = 1.0 / bias_correction(t, beta2).sqrt();
        [lr, 1.0 / bias_correction(t, beta1), second, self.slow_weight(t)]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2, _) = self.betas;
        let second = 1.0 / exact_bias_correction(t, beta2).sqrt();
        [lr, 1.0 / exact_bias_correction(t, beta1), second, self.exact_slow_weight(t)]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        1.0 - scalars[0] * self.weight_decay
    }

    fn twin(
        &self,
        t: u32,
        &[lr, bias_correction1_rcp, bias_correction2_rsqrt, slow_weight]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [exp_avg, exp_avg_sq, exp_avg_slow] = state else { panic!("three slots") };
        let (beta1, beta2, _) = self.betas;
        *exp_avg = lerp(*exp_avg, grad, (1.0 - beta1) as f32);
        *exp_avg_slow = lerp(*exp_avg_slow, grad, slow_weight);
        *exp_avg_sq = beta2 as f32 * *exp_avg_sq + (1.0 - beta2) as f32 * grad * grad;
        let rise = self.alpha / f64::from(self.alpha_warmup.unwrap_or(0).max(1));
        let alpha = (t as f32 * rise as f32).min(self.alpha as f32);
        let blend = *exp_avg * bias_correction1_rcp + alpha * *exp_avg_slow;
        let denominator = exp_avg_sq.sqrt() * bias_correction2_rsqrt + self.eps as f32;
        *param = *param * (1.0 - lr * self.weight_decay as f32) - lr * (blend / denominator);
    }

    fn oracle(
        &self,
        t: u32,
        &[lr, bias_correction1_rcp, bias_correction2_rsqrt, slow_weight]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [exp_avg, exp_avg_sq, exp_avg_slow] = state else { panic!("three slots") };
        let (beta1, beta2, _) = self.betas;
        *exp_avg += (1.0 - beta1) * (grad - *exp_avg);
        *exp_avg_slow += slow_weight * (grad - *exp_avg_slow);
        *exp_avg_sq = beta2 * *exp_avg_sq + (1.0 - beta2) * grad * grad;
        let risen = self.alpha_warmup.map_or(1.0, |warmup| f64::from(t) / f64::from(warmup));
        let blend = *exp_avg * bias_correction1_rcp + self.alpha * risen.min(1.0) * *exp_avg_slow;
        let denominator = exp_avg_sq.sqrt() * bias_correction2_rsqrt + self.eps;
        *param -= lr * l2(blend / denominator, self.weight_decay, *param);
    }
}
