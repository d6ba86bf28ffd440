//! Twin of `shaders/rules/radam.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{
    bias_correction, exact_bias_correction, exact_rectification, exact_rectified_length, l2, lerp,
    rectification_scale, rectified_length,
};

/// Options that tests step it with: rectified from step 6 on, early, late and never.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3, "weight_decay": 0.1}"#,
    r#"{"lr": 1e-2, "betas": [0.8, 0.97], "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": true,
        "maximize": true}"#,
    r#"{"lr": 1e-3, "betas": [0.0, 0.7], "weight_decay": 0.0}"#,
    r#"{"lr": 1e-3, "betas": [0.95, 0.99999], "eps": 1e-6, "weight_decay": 0.0}"#,
    r#"{"lr": 1e-3, "betas": [0.9, 0.5], "weight_decay": 0.0}"#,
];

/// `torch.optim.RAdam`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct RAdam {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    decoupled_weight_decay: bool,
    maximize: bool,
}

impl Default for RAdam {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

impl RAdam {
    /// The L2 penalty and the decoupled decay, of which one is 0.
    fn decays(&self) -> (f64, f64) {
        if self.decoupled_weight_decay {
            (0.0, self.weight_decay)
        } else {
            (self.weight_decay, 0.0)
        }
    }
}

impl Rule for RAdam {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element), ("exp_avg_sq", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2) = self.betas;
        let step_size = lr / bias_correction(t, beta1);
        let decay = 1.0 - lr * self.decays().1 as f32;
        let rho = rectified_length(t, beta2);
        if rho <= 5.0 {
            return [step_size, 0.0, decay, 0.0];
        }
        let scale = rectification_scale(beta2) as f32 * bias_correction(t, beta2);
        let rectified = ((rho - 4.0) * (rho - 2.0) / rho * scale).sqrt();
        [step_size * rectified, 1.0, decay, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[2]
    }

    fn twin(
        &self,
        _: u32,
        &[step_size, is_rectified, decay, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let (beta1, beta2) = self.betas;
        let decayed = l2(grad, self.decays().0 as f32, *param);
        state[0] = lerp(state[0], decayed, (1.0 - beta1) as f32);
        state[1] = beta2 as f32 * state[1] + (1.0 - beta2) as f32 * decayed * decayed;
        let moved = step_size * state[0];
        let rectified = moved / (state[1].sqrt() + self.eps as f32);
        *param = *param * decay - if is_rectified == 0.0 { moved } else { rectified };
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2) = self.betas;
        let step_size = lr / exact_bias_correction(t, beta1);
        let decay = 1.0 - lr * self.decays().1;
        let rho = exact_rectified_length(t, beta2);
        if rho <= 5.0 {
            return [step_size, 0.0, decay, 0.0];
        }
        let rectified = exact_rectification(rho, beta2) * exact_bias_correction(t, beta2).sqrt();
        [step_size * rectified, 1.0, decay, 0.0]
    }

    fn oracle(
        &self,
        _: u32,
        &[step_size, is_rectified, decay, _]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let (beta1, beta2) = self.betas;
        let grad = l2(grad, self.decays().0, *param);
        state[0] += (1.0 - beta1) * (grad - state[0]);
        state[1] = beta2 * state[1] + (1.0 - beta2) * grad * grad;
        let rectified = state[0] / (state[1].sqrt() + self.eps);
        *param *= decay;
        *param -= step_size * if is_rectified == 0.0 { state[0] } else { rectified };
    }
}
