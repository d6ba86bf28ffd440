//! Twin of `shaders/control/advance.wgsl`.

use crate::{Hyper, Rule, shared::expm1};

/// What is equal for all elements of a tensor in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalars {
    /// `lr / (1 - β1^t)`
    pub step_size: f32,
    /// `1 / sqrt(1 - β2^t)`
    pub bias_correction2_rsqrt: f32,
    /// `1 - lr * weight_decay`
    pub decay: f32,
    /// -1 to maximize, else 1.
    pub grad_scale: f32,
    /// t, counted from 1.
    pub step: u32,
}

/// The scalars of step `t`, with the f32 arithmetic of the shader.
#[must_use]
pub fn advance(rule: Rule, hyper: &Hyper, lr: f64, t: u32) -> Scalars {
    let (beta1, beta2) = match rule {
        Rule::Adam | Rule::AdamW => hyper.betas,
        Rule::Sgd | Rule::Lion => (0.0, 0.0),
    };
    let correction = |beta: f64| {
        let ln_beta = beta.ln().max(-10_000.0) as f32;
        -expm1(t as f32 * ln_beta)
    };
    Scalars {
        step_size: lr as f32 / correction(beta1),
        bias_correction2_rsqrt: 1.0 / correction(beta2).sqrt(),
        decay: (1.0 - lr * hyper.weight_decay) as f32,
        grad_scale: if hyper.maximize { -1.0 } else { 1.0 },
        step: t,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_corrections_are_within_5e_7_up_to_2_to_the_24() {
        let hyper = |beta| Hyper { betas: (beta, beta), ..Hyper::default() };
        let mut worst = 0.0f64;
        for beta in [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999] {
            // Every t at first, then in steps of 0.01 %, and the last.
            let mut t = 1u32;
            loop {
                let scalars = advance(Rule::AdamW, &hyper(beta), 1.0, t);
                let exact = -(f64::from(t) * f64::ln(beta)).exp_m1();
                let found = 1.0 / f64::from(scalars.step_size);
                worst = worst.max((found / exact - 1.0).abs());
                if t == 1 << 24 {
                    break;
                }
                t = (t + 1).max(t + t / 10_000).min(1 << 24);
            }
        }
        assert!(worst < 5e-7, "{worst:e}");
    }
}
