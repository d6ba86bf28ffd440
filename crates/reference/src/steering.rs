//! What becomes of any rule's direction before the parameter follows it: twin of `shaders/functions/steering.wgsl` and
//! `cautious_decay.wgsl`, in f64.

use crate::rules::{Rule, Scalars};

/// Caution, a limit to the root mean square of a direction, cautious weight decay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Steering {
    /// Follow the direction only where the gradient has its sign, the further the fewer elements that are.
    pub caution: bool,
    /// Decay weights only where the direction does not move them away from 0.
    pub cautious_decay: bool,
    /// The largest root mean square of a direction.
    pub update_clipping: Option<f64>,
}

/// The step of one tensor, before anything is decided about it.
#[derive(Debug)]
pub(crate) struct Steered {
    steering: Steering,
    lr: f64,
    /// The oracle's scalars.
    pub(crate) scalars: Scalars<f64>,
    scale: f64,
}

/// An element as the oracle gets it.
#[derive(Debug)]
pub(crate) struct Element {
    pub(crate) param: f64,
    pub(crate) grad: f64,
    pub(crate) state: Vec<f64>,
}

impl Steered {
    /// By all elements of the tensor in step `t`.
    pub(crate) fn new(
        steering: Steering,
        rule: &dyn Rule,
        t: u32,
        (lr, scalars): (f64, Scalars<f64>),
        elements: impl Iterator<Item = Element>,
    ) -> Self {
        let mut steered = Self { steering, lr, scalars, scale: 1.0 };
        let size = rule.size(lr, &scalars);
        let (mut agreeing, mut squares, mut len) = (0.0, 0.0, 0.0f64);
        for element in elements {
            let (far, grad) = (steered.far(rule, t, &element), element.grad);
            let agrees = steered.agrees(far, grad);
            agreeing += agrees;
            squares += if size == 0.0 { 0.0 } else { (agrees * far / size).powi(2) };
            len += 1.0;
        }
        let mean = |sum: f64| sum / len.max(1.0);
        if steering.caution {
            steered.scale /= mean(agreeing).max(1e-3);
        }
        if let Some(limit) = steering.update_clipping {
            steered.scale /= (steered.scale * mean(squares).sqrt() / limit).max(1.0);
        }
        steered
    }

    /// How far the oracle moves an element, but for decoupled decay.
    fn far(&self, rule: &dyn Rule, t: u32, element: &Element) -> f64 {
        let mut param = element.param;
        rule.oracle(t, &self.scalars, &mut param, element.grad, &mut element.state.clone());
        element.param * rule.decay(self.lr, &self.scalars) - param
    }

    fn agrees(&self, far: f64, grad: f64) -> f64 {
        let is_followed =
            !self.steering.caution || (far != 0.0 && grad != 0.0 && (far > 0.0) == (grad > 0.0));
        f64::from(u8::from(is_followed))
    }

    /// The parameter of an element as it becomes.
    pub(crate) fn param(&self, rule: &dyn Rule, t: u32, element: &Element) -> f64 {
        let far = self.far(rule, t, element);
        let far = far * self.agrees(far, element.grad) * self.scale;
        let decays = !self.steering.cautious_decay
            || far == 0.0
            || element.param == 0.0
            || (far > 0.0) == (element.param > 0.0);
        let decay = if decays { rule.decay(self.lr, &self.scalars) } else { 1.0 };
        element.param * decay - far
    }
}
