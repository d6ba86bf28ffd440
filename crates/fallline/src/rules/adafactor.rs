use fallline_shaders::{Source, rules::ADAFACTOR};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, Scope, builders, narrow, range, weight_decay,
};
use crate::{Dtype, Slot, SlotShape, TensorSpec};

/// Adafactor: RMSprop whose second moments of a matrix are those of its rows and columns.
///
/// ```text
/// g ← (-1 if maximize) · g
/// w ← t^beta2_decay
/// size ← max(eps2, RMS(p)) · min(lr, 1 / √t)                         RMS over the tensor
/// p ← p · (1 - lr · weight_decay)
/// r ← lerp(r, mean of g² over a row, w),   c ← lerp(c, mean of g² over a column, w)
/// v ← r · c / max(mean of r over the matrix, eps1)                   without two dimensions  v ← lerp(v, g², w)
/// u ← g / √max(v, eps1²)
/// p ← p - size / max(1, RMS(u) / d) · u                              RMS over the tensor
/// ```
///
/// Matrices are those of the last two dimensions, for each index of the others: the slots are `row_var` (r,
/// `[.., r, 1]`) and `col_var` (c, `[.., 1, c]`), or `variance` (v). So the state of a matrix has
/// O(rows + columns) numbers, in f32. The gradient is read three times in a step.
///
/// Source: Shazeer and Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*, 2018;
/// `torch.optim.Adafactor`, which takes an eps1 of `None` from the format of its group's first tensor, and we
/// from the tensor's own: f32 where its parameter is kept in f32, with a master copy, say. Of a
/// [piece](crate::Whole) of a tensor, rows, columns and RMS are the piece's. An RMS(p) that is not finite
/// counts as 0, and not as infinite as there, so that one element does not take its tensor along.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adafactor {
    /// The most of the relative learning rate, finite and >= 0.
    pub lr: f64,
    /// Exponent of t in the weight of a new second moment, in [-5, 0].
    pub beta2_decay: f64,
    /// eps1 and eps2, finite and >= 0: the least of a second moment's root, and of a parameter's RMS. An eps1
    /// of `None` is what lies between 1 and the next number in the format of the parameter.
    pub eps: (Option<f64>, f64),
    /// The most of an update's RMS, finite and >= 1.
    pub d: f64,
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Adafactor {
    /// torch's defaults.
    fn default() -> Self {
        let (lr, beta2_decay, d) = (1e-2, -0.8, 1.0);
        Self { lr, beta2_decay, eps: (None, 1e-3), d, weight_decay: 0.0, maximize: false }
    }
}

builders!(Adafactor {
    lr: f64,
    beta2_decay: f64,
    eps: (Option<f64>, f64),
    d: f64,
    weight_decay: f64,
    maximize: bool,
});

/// Whether a tensor has rows and columns.
pub(super) fn is_factored(tensor: &TensorSpec) -> bool {
    tensor.shape.len() >= 2
}

/// The exponent as a sum of two f32, of which the first has 12 bits: `functions/power.wgsl`.
pub(super) fn split(exponent: f64) -> (f64, f64) {
    let high = f64::from(f32::from_bits(narrow(exponent).to_bits() & 0xffff_f000));
    (high, exponent - high)
}

impl Rule for Adafactor {
    fn source(&self) -> Source {
        ADAFACTOR
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    weight_decay!();

    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        let is_decay = (-5.0..=0.0).contains(&self.beta2_decay);
        range::check(is_decay, "beta2_decay", "in [-5, 0]", self.beta2_decay)?;
        range::non_negative("eps[0]", self.eps.0.unwrap_or(0.0))?;
        range::non_negative("eps[1]", self.eps.1)?;
        range::check(self.d >= 1.0, "d", "finite and >= 1", self.d)?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn switches(&self, tensor: &TensorSpec) -> Vec<(&'static str, bool)> {
        let format = if tensor.precision.size_bytes() > 0 { Dtype::F32 } else { tensor.dtype };
        let is = |dtype| self.eps.0.is_none() && format == dtype;
        vec![
            ("FACTORED", is_factored(tensor)),
            ("EPS1_OF_F32", is(Dtype::F32)),
            ("EPS1_OF_F16", is(Dtype::F16)),
            ("EPS1_OF_BF16", is(Dtype::Bf16)),
        ]
    }

    fn slots(&self, tensor: &TensorSpec) -> Vec<Slot> {
        let moment = |name| Slot::moment(name).unsigned();
        if is_factored(tensor) {
            let columns = moment("col_var").shape(SlotShape::Columns);
            return vec![moment("row_var").shape(SlotShape::Rows), columns];
        }
        vec![moment("variance")]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("eps1", self.eps.0.unwrap_or(0.0))]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (high, low) = split(self.beta2_decay);
        vec![
            ("exponent_high", high),
            ("exponent_low", low),
            ("weight_decay", self.weight_decay),
            ("eps1", self.eps.0.unwrap_or(0.0)),
            ("eps2", self.eps.1),
            ("d", self.d),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        // Squares are summed over up to 2^32 elements.
        Some(SQUARED_BOUND_EXPONENT - 16)
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
