use fallline_shaders::{Source, rules::ADAM_MINI};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, builders, ln_beta, momentum, range, weight_decay,
};
use crate::{Slot, SlotShape, TensorSpec};

/// Adam-mini: AdamW with one second moment for each block of a tensor.
///
/// ```text
/// g ← (-1 if maximize) · g
/// p ← p · (1 - lr · weight_decay)
/// m ← lerp(m, g, 1 - β1)
/// v ← β2 · v + (1 - β2) · mean of g² over the block
/// p ← p - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + eps)
/// ```
///
/// The slots are `m` and `vmean` (v, a number for each block, in f32): half of AdamW's state. In a step the gradient is
/// read twice. With [`AdamMiniBlocks::Elements`] it is AdamW, with `v` in the format of the group.
///
/// What a block is comes with the group. For a transformer the paper has
///
/// | tensors | blocks |
/// |---|---|
/// | query, key | heads: as many as the projection has (of grouped queries, keys have fewer) |
/// | value, output of attention, MLP, embedding, output layer | rows |
/// | norms | tensor |
/// | biases | elements |
///
/// and for other networks, rows. (Rows are outputs, as in a weight of `torch.nn.Linear`, or tokens; what keeps
/// `[input, output]` has none that are outputs, and is better off with elements.)
///
/// Source: Zhang et al., *Adam-mini: Use Fewer Learning Rates To Gain More*, 2024, algorithm 1; adam-mini's `Adam_mini`,
/// which goes by parts of tensors' names, in lower case: to it, a `keyboard` is a key, `query_key_value` is cut into
/// heads as a query, `c_attn` is one block, and what has `ln` in its name, as `mlnet`, does not decay. Rows there are of
/// matrices only; here they are those of the first dimension of any tensor. Of a [piece](crate::Whole) of a tensor,
/// blocks are the piece's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct AdamMini {
    /// Learning rate, finite and >= 0.
    pub lr: f64,
    /// β1 and β2, both in [0, 1).
    pub betas: (f64, f64),
    /// Added to the denominator, finite and >= 0.
    pub eps: f64,
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// What shares a second moment.
    pub blocks: AdamMiniBlocks,
    /// How many heads there are, at least 1, where these are the blocks: the first dimension must be a multiple.
    pub heads: u32,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

/// What shares a second moment in [`AdamMini`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum AdamMiniBlocks {
    /// Nothing: every element has its own.
    Elements,
    /// What has the same index in the first dimension: of less than two dimensions, an element.
    #[default]
    Rows,
    /// As many rows, one after the other, as a head has: those of an equal part of the first dimension.
    Heads,
    /// The tensor.
    Tensor,
}

impl Default for AdamMini {
    /// The reference's defaults, with rows.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            blocks: AdamMiniBlocks::default(),
            heads: 0,
            maximize: false,
        }
    }
}

builders!(AdamMini {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    blocks: AdamMiniBlocks,
    heads: u32,
    maximize: bool,
});

impl AdamMini {
    /// How many blocks a tensor has, if these have more than an element.
    fn count(&self, tensor: &TensorSpec) -> Option<usize> {
        match self.blocks {
            AdamMiniBlocks::Elements => None,
            AdamMiniBlocks::Rows => match tensor.shape[..] {
                [] | [_] => None,
                [rows, ..] => Some(rows),
            },
            AdamMiniBlocks::Heads => Some(self.heads as usize),
            AdamMiniBlocks::Tensor => Some(1),
        }
    }
}

impl Rule for AdamMini {
    fn source(&self) -> Source {
        ADAM_MINI
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();
    momentum!(betas.0);

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::betas(self.betas)?;
        range::non_negative("eps", self.eps)?;
        range::non_negative("weight_decay", self.weight_decay)?;
        let has_heads = self.blocks != AdamMiniBlocks::Heads || self.heads > 0;
        range::check(has_heads, "heads", ">= 1 with blocks of heads", self.heads.into())
    }

    fn switches(&self, tensor: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![("BLOCKS", self.count(tensor).is_some())]
    }

    fn slots(&self, tensor: &TensorSpec) -> Vec<Slot> {
        let v = match self.count(tensor) {
            Some(blocks) => Slot::moment("vmean").shape(SlotShape::Blocks(blocks)),
            None => Slot::moment("v"),
        };
        vec![Slot::moment("m"), v.unsigned()]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("one_minus_beta1", 1.0 - beta1),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("eps", self.eps),
        ]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (beta1, beta2) = self.betas;
        vec![
            ("ln_beta1", ln_beta(beta1)),
            ("ln_beta2", ln_beta(beta2)),
            ("beta2", beta2),
            ("one_minus_beta2", 1.0 - beta2),
            ("weight_decay", self.weight_decay),
        ]
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        // Squares are summed over up to 2^32 elements.
        let of_sums = if self.blocks == AdamMiniBlocks::Elements { 0 } else { 16 };
        Some(SQUARED_BOUND_EXPONENT - of_sums)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
