//! Twin of `shaders/rules/adabelief.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{
    bias_correction, exact_bias_correction, exact_rectification, exact_rectified_length, l2, lerp,
    maximum, rectification_scale, rectified_length,
};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3}"#,
    r#"{"lr": 1e-3, "betas": [0.8, 0.9], "eps": 1e-4, "weight_decay": 0.1, "weight_decouple": false,
        "maximize": true}"#,
    r#"{"lr": 1e-3, "betas": [0.8, 0.97], "eps": 1e-5, "weight_decay": 0.1, "rectify": false}"#,
    r#"{"lr": 1e-3, "eps": 1e-4, "rectify": false, "amsgrad": true}"#,
];

/// `adabelief_pytorch.AdaBelief`, without `fixed_decay`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct AdaBelief {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    weight_decouple: bool,
    rectify: bool,
    amsgrad: bool,
    maximize: bool,
}

impl Default for AdaBelief {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-16,
            weight_decay: 0.0,
            weight_decouple: true,
            rectify: true,
            amsgrad: false,
            maximize: false,
        }
    }
}

impl AdaBelief {
    /// The L2 penalty and the decoupled decay, of which one is 0.
    fn decays(&self) -> (f64, f64) {
        if self.weight_decouple { (0.0, self.weight_decay) } else { (self.weight_decay, 0.0) }
    }
}

impl Rule for AdaBelief {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[
            ("exp_avg", Extent::Element),
            ("exp_avg_var", Extent::Element),
            ("max_exp_avg_var", Extent::Element),
        ]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    /// What multiplies the average; the root of the variance, 0 for none; the parameter.
    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2) = self.betas;
        let step_size = lr / bias_correction(t, beta1);
        let bias_correction2 = bias_correction(t, beta2);
        let decay = 1.0 - lr * self.decays().1 as f32;
        if !self.rectify {
            return [step_size, 1.0 / bias_correction2.sqrt(), decay, 0.0];
        }
        let length = rectified_length(t, beta2);
        if length < 5.0 {
            return [step_size, 0.0, decay, 0.0];
        }
        let scale = rectification_scale(beta2) as f32 * bias_correction2;
        let rectified = ((length - 4.0) * (length - 2.0) / length * scale).sqrt();
        [step_size * rectified, 1.0, decay, 0.0]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2) = self.betas;
        let step_size = lr / exact_bias_correction(t, beta1);
        let root = exact_bias_correction(t, beta2).sqrt();
        let decay = 1.0 - lr * self.decays().1;
        if !self.rectify {
            return [step_size, 1.0 / root, decay, 0.0];
        }
        let length = exact_rectified_length(t, beta2);
        if length < 5.0 {
            return [step_size, 0.0, decay, 0.0];
        }
        [step_size * exact_rectification(length, beta2) * root, 1.0, decay, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[2]
    }

    fn twin(
        &self,
        _: u32,
        &[step_size, root_size, decay, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let (beta1, beta2) = self.betas;
        let decayed = l2(grad, self.decays().0 as f32, *param);
        state[0] = lerp(state[0], decayed, (1.0 - beta1) as f32);
        let residual = decayed - state[0];
        let squares = (1.0 - beta2) as f32 * residual * residual;
        state[1] = beta2 as f32 * state[1] + squares + self.eps as f32;
        let mut largest = state[1];
        if self.amsgrad {
            largest = maximum(state[2], largest);
            state[2] = largest;
        }
        let divided = state[0] / (largest.sqrt() * root_size + self.eps as f32);
        let direction = step_size * if root_size == 0.0 { state[0] } else { divided };
        *param = *param * decay - direction;
    }

    fn oracle(
        &self,
        _: u32,
        &[step_size, root_size, decay, _]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let (beta1, beta2) = self.betas;
        *param *= decay;
        let grad = l2(grad, self.decays().0, *param);
        state[0] += (1.0 - beta1) * (grad - state[0]);
        state[1] = beta2 * state[1] + (1.0 - beta2) * (grad - state[0]).powi(2) + self.eps;
        let mut largest = state[1];
        if self.amsgrad {
            largest = maximum(state[2], largest);
            state[2] = largest;
        }
        let denominator =
            if root_size == 0.0 { 1.0 } else { largest.sqrt() * root_size + self.eps };
        *param -= step_size * state[0] / denominator;
    }
}
