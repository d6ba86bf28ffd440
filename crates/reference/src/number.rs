//! What computes with a rule: f32 as its twin, f64 as its oracle.

use std::{fmt::Debug, ops::Neg};

use crate::{
    functions,
    rules::{Rule, Scalars},
};

/// f32 or f64: in which a [`crate::Tensor`] computes, and so with which half of a [`Rule`].
pub trait Number: Copy + Debug + Default + Into<f64> + Neg<Output = Self> + PartialEq {
    /// The nearest number.
    fn nearest(value: f64) -> Self;

    /// torch.lerp.
    fn lerp(start: Self, end: Self, weight: f64) -> Self;

    /// [`Rule::scalars`].
    fn scalars(rule: &dyn Rule, t: u32, lr: f64, kept: &mut Scalars<Self>) -> Scalars<Self>;

    /// [`Rule::fold`].
    fn fold(rule: &dyn Rule, scalars: &Scalars<Self>, mean: Self, value: Self) -> Self;

    /// [`Rule::evaluated`].
    fn evaluated(rule: &dyn Rule, param: Self, state: &[Self]) -> Self;

    /// [`Rule::estimate`].
    fn estimate(rule: &dyn Rule, value: Self, state: &mut [Self]);

    /// [`Rule::twin`].
    fn update(
        rule: &dyn Rule,
        t: u32,
        scalars: &Scalars<Self>,
        param: &mut Self,
        grad: Self,
        state: &mut [Self],
    );
}

impl Number for f32 {
    fn nearest(value: f64) -> Self {
        value as f32
    }

    fn lerp(start: Self, end: Self, weight: f64) -> Self {
        functions::lerp(start, end, weight as f32)
    }

    fn scalars(rule: &dyn Rule, t: u32, lr: f64, kept: &mut Scalars<Self>) -> Scalars<Self> {
        rule.scalars(t, lr as f32, kept)
    }

    fn fold(rule: &dyn Rule, scalars: &Scalars<Self>, mean: Self, value: Self) -> Self {
        rule.fold(scalars, mean, value)
    }

    fn evaluated(rule: &dyn Rule, param: Self, state: &[Self]) -> Self {
        rule.evaluated(param, state)
    }

    fn estimate(rule: &dyn Rule, value: Self, state: &mut [Self]) {
        rule.estimate(value, state);
    }

    fn update(
        rule: &dyn Rule,
        t: u32,
        scalars: &Scalars<Self>,
        param: &mut Self,
        grad: Self,
        state: &mut [Self],
    ) {
        rule.twin(t, scalars, param, grad, state);
    }
}

impl Number for f64 {
    fn nearest(value: f64) -> Self {
        value
    }

    fn lerp(start: Self, end: Self, weight: f64) -> Self {
        start + weight * (end - start)
    }

    fn scalars(rule: &dyn Rule, t: u32, lr: f64, kept: &mut Scalars<Self>) -> Scalars<Self> {
        rule.exact_scalars(t, lr, kept)
    }

    fn fold(rule: &dyn Rule, scalars: &Scalars<Self>, mean: Self, value: Self) -> Self {
        rule.exact_fold(scalars, mean, value)
    }

    fn evaluated(rule: &dyn Rule, param: Self, state: &[Self]) -> Self {
        rule.exact_evaluated(param, state)
    }

    fn estimate(rule: &dyn Rule, value: Self, state: &mut [Self]) {
        rule.exact_estimate(value, state);
    }

    fn update(
        rule: &dyn Rule,
        t: u32,
        scalars: &Scalars<Self>,
        param: &mut Self,
        grad: Self,
        state: &mut [Self],
    ) {
        rule.oracle(t, scalars, param, grad, state);
    }
}
