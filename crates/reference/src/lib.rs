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

pub mod formats;
pub mod functions;
pub mod rules;
pub mod ulp;

pub use rules::{NAMES, Rule, Scalars, cases, rule};

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A tensor that a rule steps: parameter, state and step counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// The parameter.
    pub param: Vec<T>,
    /// The state slots in the order of the rule, each as long as the parameter.
    pub slots: Vec<Vec<T>>,
    /// What the rule keeps for the tensor.
    pub kept: Scalars<T>,
    /// Steps taken.
    pub step: u32,
}

impl<T: Copy + Default> Tensor<T> {
    /// A tensor whose state is zero.
    #[must_use]
    pub fn new(rule: &dyn Rule, param: Vec<T>) -> Self {
        let slots = vec![vec![T::default(); param.len()]; rule.slots().len()];
        Self { param, slots, kept: [T::default(); 4], step: 0 }
    }

    /// A slot or a kept scalar by name.
    ///
    /// # Panics
    /// If the rule has no such slot.
    #[must_use]
    pub fn get(&self, rule: &dyn Rule, name: &str) -> &[T] {
        match place(rule, name) {
            Place::Slot(number) => &self.slots[number],
            Place::Kept(number) => &self.kept[number..=number],
        }
    }

    /// Sets a slot or a kept scalar by name.
    ///
    /// # Panics
    /// If the rule has no such slot, or it has another length.
    pub fn set(&mut self, rule: &dyn Rule, name: &str, values: &[T]) {
        match place(rule, name) {
            Place::Slot(number) => self.slots[number].copy_from_slice(values),
            Place::Kept(number) => self.kept[number..=number].copy_from_slice(values),
        }
    }

    /// Updates every element; `update` takes parameter, gradient and the slots.
    fn each(&mut self, grad: &[T], update: impl Fn(&mut T, T, &mut [T])) {
        for (index, (param, grad)) in self.param.iter_mut().zip(grad).enumerate() {
            let mut state: Vec<T> = self.slots.iter().map(|slot| slot[index]).collect();
            update(param, *grad, &mut state);
            for (value, slot) in state.iter().zip(&mut self.slots) {
                slot[index] = *value;
            }
        }
    }
}

enum Place {
    Slot(usize),
    Kept(usize),
}

fn place(rule: &dyn Rule, name: &str) -> Place {
    let find = |names: &[&str]| names.iter().position(|known| *known == name);
    let slot = find(rule.slots()).map(Place::Slot);
    slot.or_else(|| find(rule.kept()).map(Place::Kept)).expect("a slot of the rule")
}

impl Tensor<f32> {
    /// One step of the twin.
    pub fn step(&mut self, rule: &dyn Rule, lr: f64, grad: &[f32]) {
        self.step += 1;
        let t = self.step;
        let mut scalars = rule.scalars(t, lr as f32, &mut self.kept);
        let sign = if rule.maximize() { -1.0 } else { 1.0 };
        if rule.reduces() {
            let widened: Tensor<f64> = self.widened();
            let wide: Vec<f64> = grad.iter().map(|grad| (sign * grad).into()).collect();
            let sums = widened.sums(rule, &scalars.map(f64::from), &wide);
            scalars = rule.decide(sums, scalars.map(f64::from)).map(|scalar| scalar as f32);
        }
        self.each(grad, |param, grad, state| rule.twin(t, &scalars, param, sign * grad, state));
    }
}

impl Tensor<f32> {
    /// The same numbers in f64.
    fn widened(&self) -> Tensor<f64> {
        let widened = |values: &Vec<f32>| values.iter().copied().map(f64::from).collect();
        Tensor {
            param: widened(&self.param),
            slots: self.slots.iter().map(widened).collect(),
            kept: self.kept.map(f64::from),
            step: self.step,
        }
    }
}

impl Tensor<f64> {
    /// What the rule wants summed over the tensor.
    fn sums(&self, rule: &dyn Rule, scalars: &Scalars<f64>, grad: &[f64]) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for (index, (param, grad)) in self.param.iter().zip(grad).enumerate() {
            let state: Vec<f64> = self.slots.iter().map(|slot| slot[index]).collect();
            let terms = rule.terms(self.step, scalars, *param, *grad, &state);
            sums = [sums[0] + terms[0], sums[1] + terms[1]];
        }
        sums
    }

    /// One step of the oracle.
    pub fn step(&mut self, rule: &dyn Rule, lr: f64, grad: &[f64]) {
        self.step += 1;
        let t = self.step;
        let mut scalars = rule.exact_scalars(t, lr, &mut self.kept);
        let sign = if rule.maximize() { -1.0 } else { 1.0 };
        if rule.reduces() {
            let turned: Vec<f64> = grad.iter().map(|grad| sign * grad).collect();
            scalars = rule.decide(self.sums(rule, &scalars, &turned), scalars);
        }
        self.each(grad, |param, grad, state| rule.oracle(t, &scalars, param, sign * grad, state));
    }
}
