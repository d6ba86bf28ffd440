//! Twin of `shaders/rules/asgd.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{l2, power, split_exponent};

/// Options that tests step it with: an average of many iterates, and a copy. (With torch's lambd of 1e-4 a parameter
/// changes by so few of its last bits for the decay that rounding is the same in each step, there as here.)
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2, "lambd": 1e-2, "weight_decay": 0.0}"#,
    r#"{"lr": 0.1, "lambd": 1e-2, "alpha": 0.9, "t0": 1.5, "weight_decay": 0.1, "maximize": true}"#,
];

/// `torch.optim.ASGD`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Asgd {
    lambd: f64,
    alpha: f64,
    t0: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for Asgd {
    fn default() -> Self {
        Self { lambd: 1e-4, alpha: 0.75, t0: 1e6, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for Asgd {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("ax", Extent::Element)]
    }

    fn kept(&self) -> &'static [&'static str] {
        // And behind them those of the step.
        &["eta", "mu"]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, kept: &mut Scalars<f32>) -> Scalars<f32> {
        let (elapsed, lambd) = (t as f32, self.lambd as f32);
        let [eta, mu] = if t == 1 { [lr, 1.0] } else { [kept[0], kept[1]] };
        let next_eta = lr * power(1.0 + lambd * lr * elapsed, split_exponent(-self.alpha));
        let averaged = (elapsed - self.t0.floor() as f32) - (self.t0 - self.t0.floor()) as f32;
        let next_mu = if averaged > 1.0 { 1.0 / averaged } else { 1.0 };
        *kept = [next_eta, next_mu, eta, mu];
        [eta, 1.0 - lambd * eta, mu, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[1]
    }

    fn size(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[0]
    }

    fn twin(
        &self,
        _: u32,
        &[eta, decay, mu, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let decayed = l2(grad, self.weight_decay as f32, *param);
        *param = *param * decay - eta * decayed;
        state[0] = if mu == 1.0 { *param } else { state[0] + (*param - state[0]) * mu };
    }

    fn exact_scalars(&self, t: u32, lr: f64, kept: &mut Scalars<f64>) -> Scalars<f64> {
        let elapsed = f64::from(t);
        let [eta, mu] = if t == 1 { [lr, 1.0] } else { [kept[0], kept[1]] };
        let next_eta = lr / (1.0 + self.lambd * lr * elapsed).powf(self.alpha);
        *kept = [next_eta, 1.0 / (elapsed - self.t0).max(1.0), eta, mu];
        [eta, 1.0 - self.lambd * eta, mu, 0.0]
    }

    fn oracle(
        &self,
        _: u32,
        &[eta, decay, mu, _]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let grad = l2(grad, self.weight_decay, *param);
        *param *= decay;
        *param -= eta * grad;
        state[0] = if mu == 1.0 { *param } else { state[0] + (*param - state[0]) * mu };
    }
}
