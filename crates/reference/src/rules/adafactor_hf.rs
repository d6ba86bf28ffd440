//! Twin of `shaders/rules/adafactor_hf.wgsl`.

use super::{Extent, Rule, Scalars, Scope, Slot};
use crate::functions::{lerp, power, split_exponent};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"weight_decay": 0.1}"#,
    r#"{"decay_rate": -0.5, "eps": [1e-4, 0.1], "clip_threshold": 0.7, "beta1": 0.9, "weight_decay": 3.0,
        "warmup_init": true}"#,
    r#"{"lr": 0.01, "relative_step": false, "scale_parameter": false, "beta1": 0.8, "weight_decay": 0.1}"#,
    r#"{"lr": 0.03, "relative_step": false, "weight_decay": 0.1}"#,
];

/// `transformers.Adafactor`, with a floor under second moments where eps is so small that they may be 0. With a
/// relative step the learning rate is a factor of it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct AdafactorHf {
    eps: (f64, f64),
    clip_threshold: f64,
    decay_rate: f64,
    beta1: Option<f64>,
    weight_decay: f64,
    scale_parameter: bool,
    relative_step: bool,
    warmup_init: bool,
}

impl Default for AdafactorHf {
    fn default() -> Self {
        Self {
            eps: (1e-30, 1e-3),
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: true,
            relative_step: true,
            warmup_init: false,
        }
    }
}

const FLOOR: f64 = f32::MIN_POSITIVE as f64;

impl AdafactorHf {
    /// The second moment as it becomes: of a vector the element's own; of a matrix by what its row and column have
    /// become already. The last of `state` are `exp_avg`, and for a matrix the mean of rows.
    fn second_moment(&self, weight: f64, grad: f64, state: &[f64]) -> f64 {
        match *state {
            [exp_avg_sq, _] => exp_avg_sq + weight * (grad * grad + self.eps.0 - exp_avg_sq),
            [row, column, _, row_mean] => row / row_mean.max(FLOOR) * column,
            _ => panic!("the slots of a vector or a matrix"),
        }
    }

    fn scaled(&self, weight: f64, grad: f64, state: &[f64]) -> f64 {
        grad / self.second_moment(weight, grad, state).max(FLOOR).sqrt()
    }
}

impl Rule for AdafactorHf {
    fn slots(&self, shape: &[usize]) -> &'static [Slot] {
        if shape.len() < 2 {
            &[("exp_avg_sq", Extent::Element), ("exp_avg", Extent::Element)]
        } else {
            &[
                ("exp_avg_sq_row", Extent::Row),
                ("exp_avg_sq_col", Extent::Column),
                ("exp_avg", Extent::Element),
            ]
        }
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    /// The learning rate, the weight of new second moments, the decay.
    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let elapsed = t as f32;
        let bound = if self.warmup_init { 1e-6 * elapsed } else { 0.01 };
        let rho = if self.relative_step { lr * bound.min(1.0 / elapsed.sqrt()) } else { lr };
        [rho, power(elapsed, split_exponent(self.decay_rate)), 1.0, 0.0]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let elapsed = f64::from(t);
        let bound = if self.warmup_init { 1e-6 * elapsed } else { 0.01 };
        let rho = if self.relative_step { lr * bound.min(1.0 / elapsed.sqrt()) } else { lr };
        [rho, elapsed.powf(self.decay_rate), 1.0, 0.0]
    }

    fn margin(&self, grad: f64) -> f64 {
        grad * grad + self.eps.0
    }

    fn fold(&self, scalars: &Scalars<f32>, mean: f32, value: f32) -> f32 {
        lerp(value, mean, scalars[1])
    }

    fn exact_fold(&self, scalars: &Scalars<f64>, mean: f64, value: f64) -> f64 {
        value + scalars[1] * (mean - value)
    }

    fn terms(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: f64,
        grad: f64,
        state: &[f64],
    ) -> [f64; 2] {
        let unclipped = self.scaled(scalars[1], grad, state);
        [param * param, unclipped * unclipped]
    }

    fn decide(
        &self,
        sums: [f64; 2],
        count: usize,
        [rho, weight, ..]: Scalars<f64>,
        _: &Scalars<f64>,
    ) -> Scalars<f64> {
        let [params, updates] = sums.map(|sum| (sum / count.max(1) as f64).sqrt());
        // One infinite element does not take its tensor along.
        let params = if params.is_finite() { params } else { 0.0 };
        let size = if self.scale_parameter { rho * params.max(self.eps.1) } else { rho };
        let clipped = size / (updates / self.clip_threshold).max(1.0);
        [clipped, weight, 1.0 - size * self.weight_decay, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[2]
    }

    fn twin(
        &self,
        _: u32,
        &[step_size, weight, decay, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let (second_moment, exp_avg) = match state {
            [exp_avg_sq, exp_avg] => {
                *exp_avg_sq = lerp(*exp_avg_sq, grad * grad + self.eps.0 as f32, weight);
                (*exp_avg_sq, exp_avg)
            }
            [row, column, exp_avg, row_mean] => {
                (*row / row_mean.max(FLOOR as f32) * *column, exp_avg)
            }
            _ => panic!("the slots of a vector or a matrix"),
        };
        let mut update = step_size * (grad / second_moment.max(FLOOR as f32).sqrt());
        if let Some(beta1) = self.beta1 {
            update = beta1 as f32 * *exp_avg + (1.0 - beta1) as f32 * update;
            *exp_avg = update;
        }
        *param = *param * decay - update;
    }

    fn oracle(
        &self,
        _: u32,
        &[step_size, weight, decay, _]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let mut update = step_size * self.scaled(weight, grad, state);
        if let [exp_avg_sq, _] = state {
            *exp_avg_sq += weight * (grad * grad + self.eps.0 - *exp_avg_sq);
        }
        if let Some(beta1) = self.beta1 {
            let exp_avg = if state.len() == 2 { &mut state[1] } else { &mut state[2] };
            update = beta1 * *exp_avg + (1.0 - beta1) * update;
            *exp_avg = update;
        }
        *param = *param * decay - update;
    }
}
