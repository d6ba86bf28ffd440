//! Twin of `shaders/rules/adadelta.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::l2;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 0.1, "weight_decay": 0.0}"#,
    r#"{"lr": 0.05, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": true}"#,
];

/// `torch.optim.Adadelta`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Adadelta {
    rho: f64,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for Adadelta {
    fn default() -> Self {
        Self { rho: 0.9, eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for Adadelta {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("square_avg", Extent::Element), ("acc_delta", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 0.0, 0.0, 0.0]
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let [square_avg, acc_delta] = state else { panic!("two slots") };
        let (rho, rest, eps) = (self.rho as f32, (1.0 - self.rho) as f32, self.eps as f32);
        let decayed = l2(grad, self.weight_decay as f32, *param);
        *square_avg = rho * *square_avg + rest * decayed * decayed;
        let ratio = (*acc_delta + eps) / (*square_avg + eps);
        *acc_delta = rho * *acc_delta + rest * (ratio * decayed * decayed);
        *param -= scalars[0] * (ratio.sqrt() * decayed);
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [square_avg, acc_delta] = state else { panic!("two slots") };
        let grad = l2(grad, self.weight_decay, *param);
        *square_avg = self.rho * *square_avg + (1.0 - self.rho) * grad * grad;
        let delta = (*acc_delta + self.eps).sqrt() / (*square_avg + self.eps).sqrt() * grad;
        *acc_delta = self.rho * *acc_delta + (1.0 - self.rho) * delta * delta;
        *param -= scalars[0] * delta;
    }
}
