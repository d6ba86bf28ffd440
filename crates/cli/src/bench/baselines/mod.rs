//! What runtimes on wgpu do today, to compare with: one fused kernel for each tensor, and one kernel
//! for each operation and tensor. Nothing but `fallline bench` uses these.

pub(crate) mod per_tensor;
pub(crate) mod tensors;
pub(crate) mod unfused;

use fallline::{Adam, AdamW, Lion, Rule, Sgd};

pub(crate) use per_tensor::PerTensor;
pub(crate) use tensors::Tensors;
pub(crate) use unfused::Unfused;

/// The constants of a rule in one step. Whatever a rule does not have is 0, its decay 1.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Scalars {
    /// 1 - lr * weight decay
    decay: f32,
    /// SGD: the momentum.
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    /// lr / (1 - beta1^t); without bias correction the learning rate.
    step_size: f32,
    /// 1 / sqrt(1 - beta2^t)
    bias_correction2_rsqrt: f32,
    lr: f32,
}

/// The rules that the baselines know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Also Adam without weight decay, which is AdamW without weight decay.
    AdamW,
    Sgd,
    Lion,
}

impl Known {
    /// The baselines' form of a rule, if there is one.
    pub(crate) fn new(rule: &dyn Rule) -> Option<Self> {
        if let Some(rule) = rule.downcast_ref::<AdamW>() {
            return (!rule.amsgrad && !rule.maximize).then_some(Known::AdamW);
        }
        if let Some(rule) = rule.downcast_ref::<Adam>() {
            let is_adamw = rule.weight_decay == 0.0 && !rule.amsgrad && !rule.maximize;
            return is_adamw.then_some(Known::AdamW);
        }
        if let Some(rule) = rule.downcast_ref::<Sgd>() {
            let is_plain = (rule.dampening, rule.weight_decay) == (0.0, 0.0)
                && !rule.nesterov
                && !rule.maximize;
            return (is_plain && rule.momentum != 0.0).then_some(Known::Sgd);
        }
        let lion = rule.downcast_ref::<Lion>().filter(|rule| !rule.maximize);
        lion.map(|_| Known::Lion)
    }
}

impl Scalars {
    /// The constants in step `t`, counted from 1.
    pub(crate) fn new(rule: &dyn Rule, lr: f64, t: i32) -> Self {
        let adam = |(beta1, beta2): (f64, f64), eps: f64, weight_decay: f64| Self {
            decay: narrow(1.0 - lr * weight_decay),
            lr: narrow(lr),
            eps: narrow(eps),
            step_size: narrow(lr / (1.0 - beta1.powi(t))),
            bias_correction2_rsqrt: narrow((1.0 - beta2.powi(t)).sqrt().recip()),
            ..Self::betas(beta1, beta2)
        };
        let plain = Self { decay: 1.0, step_size: narrow(lr), lr: narrow(lr), ..Self::default() };
        if let Some(rule) = rule.downcast_ref::<AdamW>() {
            adam(rule.betas, rule.eps, rule.weight_decay)
        } else if let Some(rule) = rule.downcast_ref::<Adam>() {
            adam(rule.betas, rule.eps, 0.0)
        } else if let Some(rule) = rule.downcast_ref::<Sgd>() {
            Self { beta1: narrow(rule.momentum), ..plain }
        } else if let Some(rule) = rule.downcast_ref::<Lion>() {
            Self {
                decay: narrow(1.0 - lr * rule.weight_decay),
                step_size: narrow(lr),
                lr: narrow(lr),
                ..Self::betas(rule.betas.0, rule.betas.1)
            }
        } else {
            plain
        }
    }

    fn betas(beta1: f64, beta2: f64) -> Self {
        Self {
            beta1: narrow(beta1),
            one_minus_beta1: narrow(1.0 - beta1),
            beta2: narrow(beta2),
            one_minus_beta2: narrow(1.0 - beta2),
            ..Self::default()
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
