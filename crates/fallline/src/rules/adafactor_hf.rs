use std::sync::Arc;

use fallline_shaders::{Source, rules::ADAFACTOR_HF};

use super::{
    OutOfRange, Rule, SQUARED_BOUND_EXPONENT, Scope, adafactor, builders, range, weight_decay,
};
use crate::{Slot, SlotShape, TensorSpec};

/// Adafactor as transformers has it: relative or given learning rates, and a first moment if asked for.
///
/// ```text
/// ρ ← min(0.01, or 1e-6 · t with warmup_init, 1 / √t) · lr          if relative_step, else  ρ ← lr
/// size ← ρ · max(eps2, RMS(p))  with scale_parameter, else ρ        RMS over the tensor
/// w ← t^decay_rate,   q ← g² + eps1
/// r ← lerp(r, mean of q over a row, w),   c ← lerp(c, mean of q over a column, w)
/// v ← r · c / mean of r over the matrix                             without two dimensions  v ← lerp(v, q, w)
/// u ← size / max(1, RMS(g / √v) / clip_threshold) · g / √v          RMS over the tensor
/// u ← m ← beta1 · m + (1 - beta1) · u                               with beta1
/// p ← p · (1 - size · weight_decay) - u
/// ```
///
/// Matrices are those of the last two dimensions, for each index of the others: the slots are `exp_avg_sq_row` (r,
/// `[.., r, 1]`) and `exp_avg_sq_col` (c, `[.., 1, c]`), or `exp_avg_sq` (v); and `exp_avg` (m). Without beta1 the
/// state of a matrix has O(rows + columns) numbers, in f32. The gradient is read three times in a step.
///
/// Source: Shazeer and Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*, 2018;
/// `transformers.Adafactor`. There, a schedule has no effect with relative_step; here the learning rate of a step is a
/// factor then, 1 by default. A matrix of zeros with an eps1 of 0 has an update of NaN there and of 0 here. An RMS(p)
/// that is not finite counts as 0, so that one element does not take its tensor along. (torch's is
/// [`Adafactor`](super::Adafactor).)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct AdafactorHf {
    /// Learning rate, finite and >= 0; `None` with relative_step, and only then.
    pub lr: Option<f64>,
    /// eps1 and eps2, finite and >= 0: what is added to squares, and the least of a parameter's RMS.
    pub eps: (f64, f64),
    /// The most of an update's RMS before the learning rate, finite and > 0.
    pub clip_threshold: f64,
    /// Exponent of t in the weight of a new second moment, in [-5, 0].
    pub decay_rate: f64,
    /// Weight of the first moment, in [0, 1); `None`: there is none.
    pub beta1: Option<f64>,
    /// Decoupled weight decay, finite and >= 0.
    pub weight_decay: f64,
    /// Whether the learning rate is relative to the parameter's RMS.
    pub scale_parameter: bool,
    /// Whether the learning rate comes from the number of steps.
    pub relative_step: bool,
    /// Whether that begins with 1e-6 and grows by as much; needs relative_step.
    pub warmup_init: bool,
}

impl Default for AdafactorHf {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            lr: None,
            eps: (1e-30, 1e-3),
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: true,
            relative_step: true,
            warmup_init: false,
        }
    }
}

builders!(AdafactorHf {
    lr: Option<f64>,
    eps: (f64, f64),
    clip_threshold: f64,
    decay_rate: f64,
    beta1: Option<f64>,
    weight_decay: f64,
    scale_parameter: bool,
    relative_step: bool,
    warmup_init: bool,
});

impl Rule for AdafactorHf {
    fn source(&self) -> Source {
        ADAFACTOR_HF
    }

    fn lr(&self) -> f64 {
        self.lr.unwrap_or(1.0)
    }

    weight_decay!();

    fn with_momentum(&self, momentum: f64) -> Option<Arc<dyn Rule>> {
        self.beta1?;
        Some(Arc::new(self.clone().beta1(Some(momentum))))
    }

    fn check(&self) -> Result<(), OutOfRange> {
        let refuse = |name, expected, found| Err(OutOfRange { name, expected, found });
        match self.lr {
            Some(lr) if self.relative_step => refuse("lr", "none with relative_step", lr)?,
            None if !self.relative_step => refuse("lr", "given without relative_step", f64::NAN)?,
            _ => {}
        }
        if self.warmup_init && !self.relative_step {
            refuse("warmup_init", "off without relative_step", 1.0)?;
        }
        range::non_negative("lr", self.lr())?;
        range::non_negative("eps[0]", self.eps.0)?;
        range::non_negative("eps[1]", self.eps.1)?;
        range::positive("clip_threshold", self.clip_threshold)?;
        let is_decay = (-5.0..=0.0).contains(&self.decay_rate);
        range::check(is_decay, "decay_rate", "in [-5, 0]", self.decay_rate)?;
        range::beta("beta1", self.beta1.unwrap_or(0.0))?;
        range::non_negative("weight_decay", self.weight_decay)
    }

    fn switches(&self, tensor: &TensorSpec) -> Vec<(&'static str, bool)> {
        vec![
            ("FACTORED", adafactor::is_factored(tensor)),
            ("MOMENTUM", self.beta1.is_some()),
            ("RELATIVE_STEP", self.relative_step),
            ("WARMUP_INIT", self.warmup_init),
            ("SCALE_PARAMETER", self.scale_parameter),
        ]
    }

    fn slots(&self, tensor: &TensorSpec) -> Vec<Slot> {
        let moment = |name| Slot::moment(name).unsigned();
        let mut slots = match adafactor::is_factored(tensor) {
            true => vec![
                moment("exp_avg_sq_row").shape(SlotShape::Rows),
                moment("exp_avg_sq_col").shape(SlotShape::Columns),
            ],
            false => vec![moment("exp_avg_sq")],
        };
        slots.extend(self.beta1.map(|_| Slot::moment("exp_avg")));
        slots
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        let beta1 = self.beta1.unwrap_or(0.0);
        vec![("eps1", self.eps.0), ("beta1", beta1), ("one_minus_beta1", 1.0 - beta1)]
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        let (high, low) = adafactor::split(self.decay_rate);
        vec![
            ("exponent_high", high),
            ("exponent_low", low),
            ("weight_decay", self.weight_decay),
            ("eps2", self.eps.1),
            ("clip_threshold", self.clip_threshold),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Tensor
    }

    fn grad_bound_exponent(&self) -> Option<i32> {
        // Squares are summed over up to 2^32 elements.
        Some(SQUARED_BOUND_EXPONENT - 16)
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn has_decoupled_decay(&self) -> bool {
        true
    }
}
