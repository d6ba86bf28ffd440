//! Parameter groups.

use std::sync::Arc;

use super::{IntoRule, Rule};
use crate::StateFormat;

/// A named parameter group: one rule with its hyperparameters for some of the tensors.
///
/// ```
/// use fallline::{AdamW, Group, Lion, StateFormat};
///
/// let groups = [
///     Group::new("weights", AdamW::new().weight_decay(0.1)).state(StateFormat::Int8),
///     Group::new("embeddings", Lion::new().lr(1e-4)).max_norm(1.0),
/// ];
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group {
    /// A name that no other group has.
    pub name: String,
    /// The rule and its hyperparameters.
    pub rule: Arc<dyn Rule>,
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
    pub fn new(name: impl Into<String>, rule: impl IntoRule) -> Self {
        Self {
            name: name.into(),
            rule: rule.into_rule(),
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

    /// Sets [`min_state_elems`](Self#structfield.min_state_elems).
    #[must_use]
    pub fn min_state_elems(mut self, min_state_elems: u64) -> Self {
        self.min_state_elems = min_state_elems;
        self
    }

    /// Clips the group's gradients to a norm of their own.
    #[must_use]
    pub fn max_norm(mut self, max_norm: f64) -> Self {
        self.max_norm = Some(max_norm);
        self
    }
}
