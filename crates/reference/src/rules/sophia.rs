//! Twin of `shaders/rules/sophia.wgsl`.

use super::{Extent, Rule, Scalars, Slot};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3}"#,
    r#"{"lr": 1e-2, "betas": [0.8, 0.7], "rho": 0.5, "eps": 1e-2, "weight_decay": 0.0}"#,
    r#"{"lr": 1e-2, "betas": [0.0, 0.9], "rho": 2.0, "eps": 1.0, "weight_decay": 0.5, "maximize": true}"#,
];

/// `sophia_opt.SophiaG`, with the batch size in the estimates and a denominator of at least eps.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Sophia {
    betas: (f64, f64),
    rho: f64,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for Sophia {
    fn default() -> Self {
        Self { betas: (0.965, 0.99), rho: 0.04, eps: 1e-15, weight_decay: 0.1, maximize: false }
    }
}

impl Rule for Sophia {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("exp_avg", Extent::Element), ("hessian", Extent::Element)]
    }

    /// Without an estimate a step is that of a sign.
    fn jumps(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn takes_estimates(&self) -> bool {
        true
    }

    fn estimate(&self, value: f32, state: &mut [f32]) {
        let beta2 = self.betas.1;
        state[1] = beta2 as f32 * state[1] + (1.0 - beta2) as f32 * value;
    }

    fn exact_estimate(&self, value: f64, state: &mut [f64]) {
        let beta2 = self.betas.1;
        state[1] = beta2 * state[1] + (1.0 - beta2) * value;
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 1.0 - lr * self.weight_decay as f32, 0.0, 0.0]
    }

    fn exact_scalars(&self, _: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        [lr, 1.0 - lr * self.weight_decay, 0.0, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[1]
    }

    fn twin(
        &self,
        _: u32,
        &[lr, decay, ..]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [exp_avg, hessian] = state else { panic!("two slots") };
        let beta1 = self.betas.0;
        *exp_avg = beta1 as f32 * *exp_avg + (1.0 - beta1) as f32 * grad;
        let size = (self.rho as f32 * *hessian).max(self.eps as f32);
        let is_clipped = exp_avg.abs() >= size;
        let direction = if is_clipped { exp_avg.signum() } else { *exp_avg / size };
        *param = *param * decay - lr * direction;
    }

    fn oracle(
        &self,
        _: u32,
        &[lr, decay, ..]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [exp_avg, hessian] = state else { panic!("two slots") };
        let beta1 = self.betas.0;
        *param *= decay;
        *exp_avg = beta1 * *exp_avg + (1.0 - beta1) * grad;
        *param -= lr * (*exp_avg / (self.rho * *hessian).max(self.eps)).clamp(-1.0, 1.0);
    }
}
