use crate::{Error, Group, Result, TensorId, abi::GroupStep, rules::narrow};

/// What a step brings: its learning rates, and which tensors have no gradient.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    rates: Rates<'a>,
    without_grad: &'a [TensorId],
}

#[derive(Clone, Copy, Debug)]
enum Rates<'a> {
    Factor(f64),
    All(f64),
    PerGroup(&'a [f64]),
}

impl Default for Step<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Step<'a> {
    /// Every group with the learning rate that it was given when the optimizer was built.
    #[must_use]
    pub const fn new() -> Self {
        Self::lr_factor(1.0)
    }

    /// Every group with this learning rate.
    #[must_use]
    pub const fn lr(lr: f64) -> Self {
        Self { rates: Rates::All(lr), without_grad: &[] }
    }

    /// Every group with its own learning rate times a factor: a schedule that keeps the groups'
    /// ratios, as torch's `LambdaLR`.
    #[must_use]
    pub const fn lr_factor(factor: f64) -> Self {
        Self { rates: Rates::Factor(factor), without_grad: &[] }
    }

    /// One learning rate for each group, in the groups' order.
    #[must_use]
    pub const fn lr_per_group(rates: &'a [f64]) -> Self {
        Self { rates: Rates::PerGroup(rates), without_grad: &[] }
    }

    /// These tensors have no gradient in this step (torch: `grad is None`): parameter, state and
    /// step counter stay as they are.
    #[must_use]
    pub const fn without_grad(mut self, tensors: &'a [TensorId]) -> Self {
        self.without_grad = tensors;
        self
    }

    /// Learning rate and decay of each group, checked.
    pub(crate) fn group_steps(&self, groups: &[Group]) -> Result<Vec<GroupStep>> {
        if let Rates::PerGroup(rates) = self.rates
            && rates.len() != groups.len()
        {
            return Err(Error::LearningRateCount { expected: groups.len(), found: rates.len() });
        }
        let step = |(index, group): (usize, &Group)| {
            let lr = match self.rates {
                Rates::Factor(factor) => group.rule.lr() * factor,
                Rates::All(lr) => lr,
                Rates::PerGroup(rates) => rates[index],
            };
            if !(narrow(lr).is_finite() && lr >= 0.0) {
                return Err(Error::LearningRate { group: group.name.clone(), found: lr });
            }
            let decay = narrow(1.0 - lr * group.rule.definition().decoupled_weight_decay());
            if !decay.is_finite() {
                return Err(Error::LearningRate { group: group.name.clone(), found: lr });
            }
            Ok(GroupStep { lr: narrow(lr), decay })
        };
        groups.iter().enumerate().map(step).collect()
    }

    /// The indices of the tensors without gradient, checked.
    pub(crate) fn absent(&self, tensors: usize) -> Result<Vec<usize>> {
        let index = |id: &TensorId| match id.0 {
            index if index < tensors => Ok(index),
            index => Err(Error::UnknownTensor { index, len: tensors }),
        };
        self.without_grad.iter().map(index).collect()
    }
}
