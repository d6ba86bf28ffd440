//! Twin of `shaders/rules/rmsprop.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::{l2, lerp, maximum};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3}"#,
    r#"{"lr": 1e-3, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "centered": true}"#,
    r#"{"lr": 1e-3, "alpha": 0.95, "weight_decay": 0.1, "momentum": 0.9, "maximize": true}"#,
    r#"{"lr": 1e-3, "alpha": 0.8, "eps": 1e-3, "momentum": 0.5, "centered": true}"#,
];

/// `torch.optim.RMSprop`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct RmsProp {
    alpha: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
    maximize: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self {
            alpha: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
            maximize: false,
        }
    }
}

impl Rule for RmsProp {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[
            ("square_avg", Extent::Element),
            ("grad_avg", Extent::Element),
            ("momentum_buffer", Extent::Element),
        ]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 0.0, 0.0, 0.0]
    }

    fn twin(&self, _: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let [square_avg, grad_avg, buffer] = state else { panic!("three slots") };
        let decayed = l2(grad, self.weight_decay as f32, *param);
        let rest = (1.0 - self.alpha) as f32;
        *square_avg = self.alpha as f32 * *square_avg + rest * decayed * decayed;
        let mut variance = *square_avg;
        if self.centered {
            *grad_avg = lerp(*grad_avg, decayed, rest);
            variance = maximum(*square_avg - *grad_avg * *grad_avg, 0.0);
        }
        let mut direction = decayed / (variance.sqrt() + self.eps as f32);
        if self.momentum != 0.0 {
            *buffer = self.momentum as f32 * *buffer + direction;
            direction = *buffer;
        }
        *param -= scalars[0] * direction;
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [square_avg, grad_avg, buffer] = state else { panic!("three slots") };
        let grad = l2(grad, self.weight_decay, *param);
        *square_avg = self.alpha * *square_avg + (1.0 - self.alpha) * grad * grad;
        let mut variance = *square_avg;
        if self.centered {
            *grad_avg += (1.0 - self.alpha) * (grad - *grad_avg);
            variance = maximum(*square_avg - *grad_avg * *grad_avg, 0.0);
        }
        let mut direction = grad / (variance.sqrt() + self.eps);
        if self.momentum != 0.0 {
            *buffer = self.momentum * *buffer + direction;
            direction = *buffer;
        }
        *param -= scalars[0] * direction;
    }
}
