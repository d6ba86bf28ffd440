//! Twin of `shaders/rules/prodigy.wgsl`.

use super::{Extent, Rule, Scalars, Scope, Slot};
use crate::functions::{bias_correction, exact_bias_correction, l2};

/// Options that tests step it with. (With a small d0, what f32 loses of p0 - p is much of it, and stays in d.)
pub const CASES: &[&str] = &[
    r#"{"lr": 1.0, "d0": 0.0078125, "weight_decay": 0.1}"#,
    r#"{"lr": 0.5, "betas": [0.8, 0.97], "beta3": 0.9, "eps": 1e-4, "weight_decay": 0.1,
        "decouple": false, "use_bias_correction": true, "d0": 0.03125, "d_coef": 2.0,
        "growth_rate": 1.2}"#,
    r#"{"lr": 0.5, "eps": 1e-6, "weight_decay": 0.1, "use_bias_correction": true,
        "safeguard_warmup": true, "d0": 0.0078125, "d_coef": 0.5}"#,
];

/// `prodigyopt.Prodigy` with every element in its sums. A learning rate of 0 freezes all of a tensor, which there goes
/// on moving, and others may differ, which there is an error; with a β₁ of 0 a gradient counts with d from before the
/// step, as with any other, and there with that behind it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Prodigy {
    betas: (f64, f64),
    beta3: Option<f64>,
    eps: f64,
    weight_decay: f64,
    decouple: bool,
    use_bias_correction: bool,
    safeguard_warmup: bool,
    d0: f64,
    d_coef: f64,
    growth_rate: f64,
}

impl Default for Prodigy {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            beta3: None,
            eps: 1e-8,
            weight_decay: 0.0,
            decouple: true,
            use_bias_correction: false,
            safeguard_warmup: false,
            d0: 1e-6,
            d_coef: 1.0,
            growth_rate: f64::INFINITY,
        }
    }
}

impl Prodigy {
    fn beta3(&self) -> f64 {
        self.beta3.unwrap_or_else(|| self.betas.1.sqrt())
    }

    /// The L2 penalty and the decoupled decay, of which one is 0.
    fn decays(&self) -> (f64, f64) {
        if self.decouple { (0.0, self.weight_decay) } else { (self.weight_decay, 0.0) }
    }

    /// State and gradient, with its penalty, as they become.
    fn proposed(
        &self,
        t: u32,
        &[d, _, s_size, _]: &Scalars<f64>,
        param: f64,
        grad: f64,
        state: &[f64],
    ) -> ([f64; 4], f64) {
        let ((beta1, beta2), grad) = (self.betas, l2(grad, self.decays().0, param));
        let scaled = d * grad;
        let exp_avg = beta1 * state[0] + (1.0 - beta1) * scaled;
        let exp_avg_sq = beta2 * state[1] + (1.0 - beta2) * scaled * scaled;
        let s = self.beta3() * state[2] + s_size * grad;
        ([exp_avg, exp_avg_sq, s, if t == 1 { param } else { state[3] }], grad)
    }
}

impl Rule for Prodigy {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[
            ("exp_avg", Extent::Element),
            ("exp_avg_sq", Extent::Element),
            ("s", Extent::Element),
            ("p0", Extent::Element),
        ]
    }

    fn kept(&self) -> &'static [&'static str] {
        &["d", "d_max", "d_numerator", "k"]
    }

    fn initial(&self) -> Scalars<f64> {
        [self.d0, self.d0, 0.0, 0.0]
    }

    fn scope(&self) -> Scope {
        Scope::Optimizer
    }

    /// d, d times the learning rate, by what a gradient counts in s, d as it becomes.
    fn scalars(&self, _: u32, lr: f32, &mut [d, _, _, k]: &mut Scalars<f32>) -> Scalars<f32> {
        let (beta1, beta2) = self.betas;
        let t = k as u32 + 1;
        let corrected = || bias_correction(t, beta2).sqrt() / bias_correction(t, beta1);
        let dlr = d * lr * if self.use_bias_correction { corrected() } else { 1.0 };
        let s_size = d / self.d0 as f32 * if self.safeguard_warmup { d } else { dlr };
        [d, dlr, s_size, d]
    }

    fn exact_scalars(&self, _: u32, lr: f64, &mut [d, _, _, k]: &mut Scalars<f64>) -> Scalars<f64> {
        let (beta1, beta2) = self.betas;
        let t = k as u32 + 1;
        let corrected = || exact_bias_correction(t, beta2).sqrt() / exact_bias_correction(t, beta1);
        let dlr = d * lr * if self.use_bias_correction { corrected() } else { 1.0 };
        let s_size = d / self.d0 * if self.safeguard_warmup { d } else { dlr };
        [d, dlr, s_size, d]
    }

    fn terms(
        &self,
        t: u32,
        scalars: &Scalars<f64>,
        param: f64,
        grad: f64,
        state: &[f64],
    ) -> [f64; 2] {
        let ([.., s, p0], grad) = self.proposed(t, scalars, param, grad, state);
        // Of an infinite parameter nothing is known.
        let moved = if param.is_finite() { p0 - param } else { 0.0 };
        [scalars[0] / self.d0 * scalars[1] * grad * moved, s.abs()]
    }

    fn settle(
        &self,
        [moved, denominator]: [f64; 2],
        kept @ [d, d_max, d_numerator, k]: Scalars<f64>,
    ) -> Scalars<f64> {
        if denominator == 0.0 {
            return kept;
        }
        let numerator = self.beta3() * d_numerator + moved;
        let d_hat = self.d_coef * numerator / denominator;
        // The first growth has no limit. (In f32 d0 is rounded.)
        let d = if d as f32 == self.d0 as f32 { d.max(d_hat) } else { d };
        let d_max = d_max.max(d_hat);
        [d_max.min(d * self.growth_rate), d_max, numerator, k + 1.0]
    }

    fn decide(
        &self,
        sums: [f64; 2],
        _: usize,
        [d, dlr, s_size, _]: Scalars<f64>,
        kept: &Scalars<f64>,
    ) -> Scalars<f64> {
        // Without any s nothing moves.
        [d, if sums[1] == 0.0 { 0.0 } else { dlr }, s_size, kept[0]]
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        1.0 - scalars[1] * self.decays().1
    }

    fn size(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[1]
    }

    fn twin(
        &self,
        t: u32,
        &[d, dlr, s_size, d_next]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [exp_avg, exp_avg_sq, s, p0] = state else { panic!("four slots") };
        let ((beta1, beta2), (penalty, decay)) = (self.betas, self.decays());
        let grad = l2(grad, penalty as f32, *param);
        let scaled = d * grad;
        *exp_avg = beta1 as f32 * *exp_avg + (1.0 - beta1) as f32 * scaled;
        *exp_avg_sq = beta2 as f32 * *exp_avg_sq + (1.0 - beta2) as f32 * scaled * scaled;
        *s = self.beta3() as f32 * *s + s_size * grad;
        if t == 1 {
            *p0 = *param;
        }
        let denominator = exp_avg_sq.sqrt() + d_next * self.eps as f32;
        *param = *param * (1.0 - dlr * decay as f32) - dlr * *exp_avg / denominator;
    }

    fn oracle(
        &self,
        t: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let (proposed, _) = self.proposed(t, scalars, *param, grad, state);
        let [_, dlr, _, d_next] = *scalars;
        if self.decays().1 != 0.0 {
            *param -= dlr * self.decays().1 * *param;
        }
        *param -= dlr * proposed[0] / (proposed[1].sqrt() + d_next * self.eps);
        state.copy_from_slice(&proposed);
    }
}
