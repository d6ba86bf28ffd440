//! Twin of `shaders/rules/adam_mini.wgsl`.

use super::{
    Extent, Rule, Scalars, Slot,
    adam::{corrections, exact_corrections},
};
use crate::functions::lerp;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1, "blocks": "rows"}"#,
    r#"{"lr": 1e-3, "betas": [0.85, 0.97], "eps": 1e-3, "weight_decay": 0.1, "blocks": "tensor",
        "maximize": true}"#,
    r#"{"lr": 1e-3, "betas": [0.3, 0.9999], "eps": 1e-6, "weight_decay": 0.1,
        "blocks": "elements"}"#,
];

/// adam-mini's `Adam_mini`, with blocks of any shape.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct AdamMini {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    blocks: Blocks,
    heads: usize,
    maximize: bool,
}

/// What shares a second moment.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Blocks {
    Elements,
    Rows,
    Heads,
    Tensor,
}

impl Default for AdamMini {
    fn default() -> Self {
        let (betas, eps, blocks) = ((0.9, 0.999), 1e-8, Blocks::Rows);
        Self { betas, eps, weight_decay: 0.0, blocks, heads: 0, maximize: false }
    }
}

impl Rule for AdamMini {
    fn slots(&self, shape: &[usize]) -> &'static [Slot] {
        match (self.blocks, shape) {
            // Each of them a block.
            (Blocks::Elements, _) | (Blocks::Rows, [] | [_]) => {
                &[("m", Extent::Element), ("v", Extent::Block)]
            }
            _ => &[("m", Extent::Element), ("vmean", Extent::Block)],
        }
    }

    fn blocks(&self, shape: &[usize]) -> usize {
        match self.blocks {
            Blocks::Elements => shape.iter().product(),
            Blocks::Rows => shape.first().copied().unwrap_or(1),
            Blocks::Heads => self.heads,
            Blocks::Tensor => 1,
        }
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, t: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        let [step_size, bias_correction2_rsqrt, ..] = corrections(self.betas, t, lr);
        [step_size, bias_correction2_rsqrt, 1.0 - lr * self.weight_decay as f32, 0.0]
    }

    fn exact_scalars(&self, t: u32, lr: f64, _: &mut Scalars<f64>) -> Scalars<f64> {
        let [step_size, bias_correction2_rsqrt, ..] = exact_corrections(self.betas, t, lr);
        [step_size, bias_correction2_rsqrt, 1.0 - lr * self.weight_decay, 0.0]
    }

    fn fold(&self, _: &Scalars<f32>, mean: f32, value: f32) -> f32 {
        self.betas.1 as f32 * value + (1.0 - self.betas.1) as f32 * mean
    }

    fn exact_fold(&self, _: &Scalars<f64>, mean: f64, value: f64) -> f64 {
        self.betas.1 * value + (1.0 - self.betas.1) * mean
    }

    fn decay(&self, _: f64, scalars: &Scalars<f64>) -> f64 {
        scalars[2]
    }

    fn twin(
        &self,
        _: u32,
        &[step_size, bias_correction2_rsqrt, decay, _]: &Scalars<f32>,
        param: &mut f32,
        grad: f32,
        state: &mut [f32],
    ) {
        let [m, v] = state else { panic!("two slots") };
        *m = lerp(*m, grad, (1.0 - self.betas.0) as f32);
        let denominator = v.sqrt() * bias_correction2_rsqrt + self.eps as f32;
        *param = *param * decay - step_size * *m / denominator;
    }

    fn oracle(
        &self,
        _: u32,
        &[step_size, bias_correction2_rsqrt, decay, _]: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [m, v] = state else { panic!("two slots") };
        *m += (1.0 - self.betas.0) * (grad - *m);
        *param *= decay;
        *param -= step_size * *m / (v.sqrt() * bias_correction2_rsqrt + self.eps);
    }
}
