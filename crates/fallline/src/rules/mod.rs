//! The optimizers. Each is one file here, one WGSL file and one CPU twin, all with the same stem.

mod adam;
mod adamw;
mod lion;
mod sgd;

pub use adam::Adam;
pub use adamw::AdamW;
pub use lion::Lion;
pub use sgd::Sgd;

use fallline_shaders::Source;

use crate::{Error, Result, Slot, StateFormat, abi};

/// An optimizer with its hyperparameters.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// SGD with momentum, dampening, Nesterov.
    Sgd(Sgd),
    /// Lion.
    Lion(Lion),
    /// Adam with L2 regularization.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

impl Rule {
    /// The learning rate that the group was given.
    #[must_use]
    pub fn lr(&self) -> f64 {
        self.definition().lr()
    }

    /// The rule's name: the stem of its files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let path = self.definition().source().path;
        path.rsplit_once('/').map_or(path, |(_, stem)| stem)
    }

    /// What the rule keeps for each element.
    #[must_use]
    pub fn slots(&self) -> &'static [Slot] {
        self.definition().slots()
    }

    pub(crate) fn definition(&self) -> &dyn Definition {
        match self {
            Rule::Sgd(rule) => rule,
            Rule::Lion(rule) => rule,
            Rule::Adam(rule) => rule,
            Rule::AdamW(rule) => rule,
        }
    }
}

macro_rules! into_rule {
    ($($rule:ident),*) => {$(
        impl From<$rule> for Rule {
            fn from(rule: $rule) -> Self {
                Rule::$rule(rule)
            }
        }
    )*};
}
into_rule!(Sgd, Lion, Adam, AdamW);

/// A named parameter group: one rule with its hyperparameters for some of the tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// A name that no other group has.
    pub name: String,
    /// The rule and its hyperparameters.
    pub rule: Rule,
    /// Clips the gradients of this group to a norm of its own, as `torch.nn.utils.clip_grad_norm_`
    /// called with the group's parameters: see [`Options::max_norm`](crate::Options::max_norm). Positive;
    /// infinity exempts the group from clipping to a norm.
    pub max_norm: Option<f64>,
    /// The format of the group's state.
    pub state: StateFormat,
    /// Tensors with fewer elements keep their state in f32, whatever [`state`](Self::state) is: there
    /// is little to save, and norms and biases are the most sensitive. (bitsandbytes has the same
    /// threshold, `min_8bit_size`.)
    pub min_state_elems: u64,
}

impl Group {
    /// A group.
    pub fn new(name: impl Into<String>, rule: impl Into<Rule>) -> Self {
        Self {
            name: name.into(),
            rule: rule.into(),
            max_norm: None,
            state: StateFormat::F32,
            min_state_elems: 4096,
        }
    }

    /// The format of the state, for tensors of at least [`min_state_elems`](Self::min_state_elems).
    #[must_use]
    pub fn state(mut self, state: StateFormat) -> Self {
        self.state = state;
        self
    }

    /// The format of the state of a tensor with so many elements; of a piece, its whole's number of them.
    #[must_use]
    pub fn state_of(&self, len_elems: u64) -> StateFormat {
        if len_elems < self.min_state_elems { StateFormat::F32 } else { self.state }
    }

    /// Clips the group's gradients to a norm of their own.
    #[must_use]
    pub fn max_norm(mut self, max_norm: f64) -> Self {
        self.max_norm = Some(max_norm);
        self
    }
}

/// What the engine must know about a rule.
pub(crate) trait Definition {
    /// The learning rate that the group was given.
    fn lr(&self) -> f64;

    /// Whether every hyperparameter is in its range.
    fn check(&self, check: &Check<'_>) -> Result<()>;

    /// The WGSL of the rule.
    fn source(&self) -> Source;

    /// The rule's switches: boolean `override` constants of its WGSL.
    fn switches(&self) -> Vec<(&'static str, bool)>;

    /// The state slots, in the order of the WGSL's slots.
    fn slots(&self) -> &'static [Slot];

    /// β1 and β2 of the bias corrections; 0 for none.
    fn bias_correction_betas(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    /// The weight decay of the factor `1 - lr * weight_decay`; 0 if the rule decays otherwise.
    fn decoupled_weight_decay(&self) -> f64 {
        0.0
    }

    /// n, where a gradient of magnitude 2^n or more may take the rule out of the range of f32, though it is
    /// finite itself.
    fn grad_bound_exponent(&self) -> Option<i32> {
        None
    }

    /// Whether the gradient's sign is turned.
    fn maximize(&self) -> bool;

    /// The constants of the WGSL's `Hyper`, in its order.
    fn hyper(&self) -> abi::Hyper;
}

/// The bound of a rule that squares gradients: what is below has a square below 2^126, and so moments
/// well within the range of f32.
pub(crate) const SQUARED_BOUND_EXPONENT: i32 = 63;

/// Range checks that name the group and the hyperparameter.
pub(crate) struct Check<'a> {
    pub(crate) group: &'a str,
}

impl Check<'_> {
    pub(crate) fn non_negative(&self, name: &'static str, found: f64) -> Result<()> {
        self.range(name, "finite and >= 0", found, found.is_finite() && found >= 0.0)
    }

    pub(crate) fn beta(&self, name: &'static str, found: f64) -> Result<()> {
        self.range(name, "in [0, 1)", found, (0.0..1.0).contains(&found))
    }

    pub(crate) fn betas(&self, (beta1, beta2): (f64, f64)) -> Result<()> {
        self.beta("betas[0]", beta1)?;
        self.beta("betas[1]", beta2)
    }

    pub(crate) fn range(
        &self,
        name: &'static str,
        expected: &'static str,
        found: f64,
        ok: bool,
    ) -> Result<()> {
        // A value that is finite in f64 but not in f32 would reach the GPU as an infinity.
        if ok && narrow(found).is_finite() {
            return Ok(());
        }
        Err(Error::Hyperparameter { group: self.group.to_owned(), name, expected, found })
    }
}

/// Rounds a hyperparameter to the f32 that the GPU gets.
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

/// `Hyper` from the constants of a rule, the rest zero.
pub(crate) fn hyper<const N: usize>(constants: [f64; N]) -> abi::Hyper {
    let mut hyper = abi::Hyper::default();
    for (word, constant) in hyper.iter_mut().zip(constants) {
        *word = narrow(constant);
    }
    hyper
}
