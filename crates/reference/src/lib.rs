//! CPU twins of fallline's shaders: the same files under the same names, in Rust. Knows no GPU.
//!
//! Each rule has two:
//! - the **twin** computes in f32, in the order of operations of the WGSL. It says what the shader
//!   should give, up to the roundings that WGSL leaves open;
//! - the **oracle** computes the published formula in f64, as torch writes it. It says what is right.
//!
//! Both work on one element and are driven by [`Tensor`], which steps a whole tensor.

#![allow(
    clippy::cast_possible_truncation,
    reason = "rounding f64 constants to f32 is what a twin does"
)]

pub mod control;
pub mod formats;
pub mod rules;
pub mod shared;
pub mod ulp;

pub use rules::{Hyper, Rule};

/// A tensor that a rule steps: parameter, state and step counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// The parameter.
    pub param: Vec<T>,
    /// The state slots in the order of the rule, each as long as the parameter.
    pub slots: Vec<Vec<T>>,
    /// Steps taken.
    pub step: u32,
}

impl<T: Clone + Default> Tensor<T> {
    /// A tensor whose state is zero.
    #[must_use]
    pub fn new(rule: Rule, param: Vec<T>) -> Self {
        let slots = vec![vec![T::default(); param.len()]; rule.slots()];
        Self { param, slots, step: 0 }
    }

    /// Updates every element; `update` takes parameter, gradient and the slots.
    fn each(&mut self, grad: &[T], update: impl Fn(&mut T, &T, &mut [T; 3])) {
        for (index, (param, grad)) in self.param.iter_mut().zip(grad).enumerate() {
            let mut state = [T::default(), T::default(), T::default()];
            for (value, slot) in state.iter_mut().zip(&self.slots) {
                *value = slot[index].clone();
            }
            update(param, grad, &mut state);
            for (value, slot) in state.iter().zip(&mut self.slots) {
                slot[index] = value.clone();
            }
        }
    }
}

impl Tensor<f32> {
    /// One step of the twin, with what `control/advance` derives in f32.
    pub fn step(&mut self, rule: Rule, hyper: &Hyper, lr: f64, grad: &[f32]) {
        self.step += 1;
        let scalars = control::advance(rule, hyper, lr, self.step);
        self.each(grad, |param, grad, state| {
            rules::twin(rule, hyper, &scalars, param, *grad, state)
        });
    }
}

impl Tensor<f64> {
    /// One step of the oracle.
    pub fn step(&mut self, rule: Rule, hyper: &Hyper, lr: f64, grad: &[f64]) {
        self.step += 1;
        let t = self.step;
        self.each(grad, |param, grad, state| {
            rules::oracle(rule, hyper, lr, t, param, *grad, state)
        });
    }
}
