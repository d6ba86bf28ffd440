//! Twin of `shaders/rules/adafactor.wgsl`.

use super::{Extent, Rule, Scalars, Scope, Slot};
use crate::functions::{lerp, power, split_exponent};

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2, "weight_decay": 0.1}"#,
    r#"{"lr": 0.03, "beta2_decay": -0.5, "eps": [1e-4, 0.1], "d": 1.5, "weight_decay": 0.1,
        "maximize": true}"#,
];

/// `torch.optim.Adafactor`, with nothing for a tensor without elements, by whose number torch divides, and with
/// a floor under variances also where eps is so small that f32 has no square of it.
///
/// Without its first eps it is that of an f32 parameter.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Adafactor {
    beta2_decay: f64,
    eps: (Option<f64>, f64),
    d: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self { beta2_decay: -0.8, eps: (None, 1e-3), d: 1.0, weight_decay: 0.0, maximize: false }
    }
}

impl Adafactor {
    /// What the mean of a matrix's rows and what an estimate are at least.
    fn floors(&self) -> [f64; 2] {
        let eps = self.eps.0.unwrap_or(f32::EPSILON.into());
        [eps, eps * eps].map(|floor| floor.max(f32::MIN_POSITIVE.into()))
    }

    /// The direction, from the variances as they become.
    fn direction(&self, grad: f64, variances: &[f64]) -> f64 {
        let [mean_floor, floor] = self.floors();
        let estimate = match *variances {
            [variance] => variance,
            [row_var, col_var, row_mean] => row_var / row_mean.max(mean_floor) * col_var,
            _ => panic!("a variance, or those of row and column with the mean of rows"),
        };
        grad / estimate.max(floor).sqrt()
    }
}

/// The variances with an element's own as it becomes; those of its row and column have become already.
fn folded(scalars: &Scalars<f64>, grad: f64, variances: &[f64]) -> Vec<f64> {
    match *variances {
        [variance] => vec![variance + scalars[1] * (grad * grad - variance)],
        _ => variances.to_vec(),
    }
}

impl Rule for Adafactor {
    fn slots(&self, shape: &[usize]) -> &'static [Slot] {
        if shape.len() < 2 {
            &[("variance", Extent::Element)]
        } else {
            &[("row_var", Extent::Row), ("col_var", Extent::Column)]
        }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    /// The largest relative step, the weight of new variances, the decay.
    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let elapsed = t as f32;
        let weight = power(elapsed, split_exponent(self.beta2_decay));
        [lr.min(1.0 / elapsed.sqrt()), weight, 1.0 - lr * self.weight_decay as f32, 0.0]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let elapsed = f64::from(t);
        let weight = elapsed.powf(self.beta2_decay);
        [lr.min(1.0 / elapsed.sqrt()), weight, 1.0 - lr * self.weight_decay, 0.0]
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
        let direction = self.direction(grad, &folded(scalars, grad, state));
        [param * param, direction * direction]
    }

    fn decide(
        &self,
        sums: [f64; 2],
        count: usize,
        [rho, weight, decay, _]: Scalars<f64>,
        _: &Scalars<f64>,
    ) -> Scalars<f64> {
        let [params, directions] = sums.map(|sum| (sum / count.max(1) as f64).sqrt());
        // One infinite element does not take its tensor along.
        let params = if params.is_finite() { params } else { 0.0 };
        let step_size = rho * params.max(self.eps.1) / (directions / self.d).max(1.0);
        [step_size, weight, decay, 0.0]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[2]
    }

    fn size(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[0]
    }

    fn twin(
        &self,
        _: u32,
        &[step_size, weight, decay, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [mean_floor, floor] = self.floors().map(|floor| floor as f32);
        let estimate = match state {
            [variance] => {
                *variance = lerp(*variance, grad * grad, weight);
                *variance
            }
            &mut [row_var, col_var, row_mean] => row_var / row_mean.max(mean_floor) * col_var,
            _ => panic!("a variance, or those of row and column with the mean of rows"),
        };
        let direction = grad / estimate.max(floor).sqrt();
        *param = *param * decay - step_size * direction;
    }

    fn oracle(
        &self,
        _: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let variances = folded(scalars, grad, state);
        *param = *param * scalars[2] - scalars[0] * self.direction(grad, &variances);
        state.copy_from_slice(&variances);
    }
}
