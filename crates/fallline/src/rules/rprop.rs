use fallline_shaders::{Source, rules::RPROP};

use super::{OutOfRange, Rule, builders, range};
use crate::{Slot, TensorSpec};

/// Rprop: each element has a step size of its own, which grows while the gradient's sign stays and shrinks when it
/// turns. For gradients of all data; signs of small batches' turn by chance.
///
/// ```text
/// g ← (-1 if maximize) · g
/// s ← sign(g) · sign(prev)
/// δ ← clamp(δ · f, step_sizes[0], step_sizes[1])       f = etas[1] if s > 0, etas[0] if s < 0, else 1
/// prev ← 0 if s < 0, else g
/// p ← p - sign(prev) · δ
/// ```
///
/// The learning rate is δ in the tensor's first step, and nothing afterwards: [it is fixed](Rule::has_fixed_lr), so that
/// a step that brings another, a schedule or one of 0, is an error. (torch ignores it without a word. To keep a tensor
/// as it is, step it [without gradient](crate::Step::without_grad).) Another learning rate by
/// [`set_rule`](crate::Optimizer::set_rule) is that of tensors whose first step is yet to come.
///
/// Both slots are f32 in any format of the state: δ is a product of all that was, and the sign of prev must be right
/// also beside much larger ones.
///
/// Source: Riedmiller and Braun, *A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP
/// Algorithm*, 1993; `torch.optim.Rprop`. There s is the sign of g · prev, which is 0 for gradients below 1e-23 in
/// f32.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Rprop {
    /// The first step size, finite and > 0.
    pub lr: f64,
    /// What a step size is multiplied by where the sign turns, in (0, 1), and where it stays, above 1.
    pub etas: (f64, f64),
    /// The smallest and the largest step size, finite and >= 0.
    pub step_sizes: (f64, f64),
    /// Maximize the objective instead of minimizing it.
    pub maximize: bool,
}

impl Default for Rprop {
    /// torch's defaults.
    fn default() -> Self {
        Self { lr: 1e-2, etas: (0.5, 1.2), step_sizes: (1e-6, 50.0), maximize: false }
    }
}

builders!(Rprop { lr: f64, etas: (f64, f64), step_sizes: (f64, f64), maximize: bool });

impl Rule for Rprop {
    fn source(&self) -> Source {
        RPROP
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn check(&self) -> Result<(), OutOfRange> {
        let (eta_minus, eta_plus) = self.etas;
        let (least, most) = self.step_sizes;
        range::positive("lr", self.lr)?;
        range::check(eta_minus > 0.0 && eta_minus < 1.0, "etas[0]", "in (0, 1)", eta_minus)?;
        range::check(eta_plus > 1.0, "etas[1]", "finite and > 1", eta_plus)?;
        range::non_negative("step_sizes[0]", least)?;
        range::check(most >= least, "step_sizes[1]", "finite and >= step_sizes[0]", most)
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("prev").exact(), Slot::moment("step_size").unsigned().exact()]
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("eta_minus", self.etas.0),
            ("eta_plus", self.etas.1),
            ("min_step_size", self.step_sizes.0),
            ("max_step_size", self.step_sizes.1),
        ]
    }

    fn has_fixed_lr(&self) -> bool {
        true
    }

    fn direction_has_lr(&self) -> bool {
        true
    }

    fn maximize(&self) -> bool {
        self.maximize
    }
}
