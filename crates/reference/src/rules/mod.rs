//! Twins and oracles of `shaders/rules`, one file each.

pub mod adam;
pub mod adamw;
pub mod lion;
pub mod sgd;

use crate::control::Scalars;

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `rules/sgd`
    Sgd,
    /// `rules/lion`
    Lion,
    /// `rules/adam`
    Adam,
    /// `rules/adamw`
    AdamW,
}

impl Rule {
    /// How many state slots the rule can have; a switch may leave the last unused.
    #[must_use]
    pub const fn slots(self) -> usize {
        match self {
            Rule::Sgd | Rule::Lion => 1,
            Rule::Adam | Rule::AdamW => 3,
        }
    }
}

/// Hyperparameters under torch's names; a rule ignores those that it has not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// β1, β2
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// L2 penalty or decoupled decay, as the rule has it.
    pub weight_decay: f64,
    /// The largest second moment so far in the denominator.
    pub amsgrad: bool,
    /// Ascend instead of descend.
    pub maximize: bool,
    /// SGD's μ.
    pub momentum: f64,
    /// SGD's dampening.
    pub dampening: f64,
    /// SGD's Nesterov momentum.
    pub nesterov: bool,
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            maximize: false,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
        }
    }
}

/// One element of the rule's f32 twin.
pub fn twin(
    rule: Rule,
    hyper: &Hyper,
    scalars: &Scalars,
    param: &mut f32,
    grad: f32,
    state: &mut [f32; 3],
) {
    let update = match rule {
        Rule::Sgd => sgd::twin,
        Rule::Lion => lion::twin,
        Rule::Adam => adam::twin,
        Rule::AdamW => adamw::twin,
    };
    update(hyper, scalars, param, grad * scalars.grad_scale, state);
}

/// One element of the rule's f64 oracle.
pub fn oracle(
    rule: Rule,
    hyper: &Hyper,
    lr: f64,
    t: u32,
    param: &mut f64,
    grad: f64,
    state: &mut [f64; 3],
) {
    let update = match rule {
        Rule::Sgd => sgd::oracle,
        Rule::Lion => lion::oracle,
        Rule::Adam => adam::oracle,
        Rule::AdamW => adamw::oracle,
    };
    update(hyper, lr, t, param, if hyper.maximize { -grad } else { grad }, state);
}
