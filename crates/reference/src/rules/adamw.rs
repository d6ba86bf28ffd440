//! Twin of `shaders/rules/adamw.wgsl`.

use super::{
    Rule, Scalars, Slot,
    adam::{corrections, exact_corrections, oracle_step, step},
};

/// Options that tests step it with.
pub const CASES: &[&str] = super::adam::CASES;

/// `torch.optim.AdamW`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct AdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        let betas = (0.9, 0.999);
        Self { betas, eps: 1e-8, weight_decay: 1e-2, amsgrad: false, maximize: false }
    }
}

impl Rule for AdamW {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &super::adam::SLOTS
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let [step_size, bias_correction2_rsqrt, ..] = corrections(self.betas, t, lr);
        [step_size, bias_correction2_rsqrt, 1.0 - lr * self.weight_decay as f32, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[2]
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let far = step(self.betas, self.eps, self.amsgrad, scalars, grad, state);
        *param = *param * scalars[2] - far;
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let [step_size, bias_correction2_rsqrt, ..] = exact_corrections(self.betas, t, lr);
        [step_size, bias_correction2_rsqrt, 1.0 - lr * self.weight_decay, 0.0]
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        *param *= scalars[2];
        *param -= oracle_step(self.betas, self.eps, self.amsgrad, scalars, grad, state);
    }
}
