use std::fmt;

use crate::{Error, Group, Result, TensorId, abi::StepInput, control::Input, rules::narrow};

/// What a step brings: its learning rates, which tensors have no gradient, and what is to be done with
/// the gradients. A rule whose learning rate [is fixed](crate::Rule::has_fixed_lr) takes no other than its group's.
///
/// ```
/// use fallline::{Step, TensorId};
///
/// let frozen = [TensorId::new(3)];
/// let step = Step::lr_per_group(&[1e-3, 1e-4]).without_grad(&frozen).zero_grads();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    rates: Rates<'a>,
    without_grad: &'a [TensorId],
    accumulated: u32,
    zero_grads: bool,
    keep_loss_scale: bool,
}

#[derive(Clone, Copy)]
enum Rates<'a> {
    Factor(f64),
    All(f64),
    OfGroup(&'a (dyn Fn(&Group) -> f64 + Sync)),
    PerGroup(&'a [f64]),
    PerTensor(&'a [f64]),
}

impl fmt::Debug for Rates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Factor(factor) => f.debug_tuple("Factor").field(factor).finish(),
            Self::All(lr) => f.debug_tuple("All").field(lr).finish(),
            Self::OfGroup(_) => f.debug_tuple("OfGroup").finish_non_exhaustive(),
            Self::PerGroup(rates) => f.debug_tuple("PerGroup").field(rates).finish(),
            Self::PerTensor(rates) => f.debug_tuple("PerTensor").field(rates).finish(),
        }
    }
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

    /// Every group with this learning rate times its [`lr_scale`](Group::lr_scale). An error where the groups' rules
    /// were given different ones: see [`lr_factor`](Self::lr_factor), [`lr_of_group`](Self::lr_of_group), [`lr_per_group`](Self::lr_per_group).
    #[must_use]
    pub const fn lr(lr: f64) -> Self {
        Self::with(Rates::All(lr))
    }

    /// Every group with [its own](Group::lr) learning rate times a factor: a schedule that keeps the groups'
    /// ratios, as torch's `LambdaLR`.
    #[must_use]
    pub const fn lr_factor(factor: f64) -> Self {
        Self::with(Rates::Factor(factor))
    }

    /// The learning rate that this gives for each group, whatever its [`lr_scale`](Group::lr_scale): a schedule of each
    /// group's own, from [`Group::lr`] on.
    ///
    /// ```
    /// use fallline::{Group, Step, schedule::{CosineAnnealing, Schedule}};
    ///
    /// # fn train(optimizer: &mut fallline::Optimizer, t: u64) -> fallline::Result<()> {
    /// let schedule = CosineAnnealing::new(1000);
    /// optimizer.step(&Step::lr_of_group(&|group: &Group| match group.name.as_str() {
    ///     "head" => group.lr(),
    ///     _ => schedule.lr(group.lr(), t),
    /// }))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn lr_of_group(lr_of: &'a (dyn Fn(&Group) -> f64 + Sync)) -> Self {
        Self::with(Rates::OfGroup(lr_of))
    }

    /// One learning rate for each group, in the groups' order, whatever their [`lr_scale`](Group::lr_scale).
    #[must_use]
    pub const fn lr_per_group(rates: &'a [f64]) -> Self {
        Self::with(Rates::PerGroup(rates))
    }

    /// One learning rate for each tensor, in the tensors' order; otherwise as [`lr_per_group`](Self::lr_per_group).
    #[must_use]
    pub const fn lr_per_tensor(rates: &'a [f64]) -> Self {
        Self::with(Rates::PerTensor(rates))
    }

    const fn with(rates: Rates<'a>) -> Self {
        Self { rates, without_grad: &[], accumulated: 1, zero_grads: false, keep_loss_scale: false }
    }

    /// These tensors have no gradient in this step (torch: `grad is None`): parameter, state and
    /// step counter stay as they are. For many steps: [`Optimizer::freeze`](crate::Optimizer::freeze).
    #[must_use]
    pub const fn without_grad(mut self, tensors: &'a [TensorId]) -> Self {
        self.without_grad = tensors;
        self
    }

    /// The gradients are the sum over `count` micro-batches, and are divided by it.
    #[must_use]
    pub const fn accumulated(mut self, count: u32) -> Self {
        self.accumulated = count;
        self
    }

    /// Sets the gradients to zero behind the update, in the same pass and also if the step is
    /// skipped. Those of tensors [without gradient](Self::without_grad) stay.
    /// An error where tensors share a gradient: one would need it when the other has set it to zero.
    #[must_use]
    pub const fn zero_grads(mut self) -> Self {
        self.zero_grads = true;
        self
    }

    /// Leaves the loss scale to another optimizer that shares the scaler and steps after this one for
    /// the same backward pass. Whether this one overflowed is remembered for it.
    #[must_use]
    pub const fn keep_loss_scale(mut self) -> Self {
        self.keep_loss_scale = true;
        self
    }

    /// Everything that the GPU needs to know, checked; `group_of` gives the group of each tensor.
    pub(crate) fn input(
        &self,
        groups: &[Group],
        group_of: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Input> {
        let absent = indices(self.without_grad, group_of.len())?;
        let rates = self.rates(groups, group_of)?;
        if self.accumulated == 0 {
            let what = "the number of accumulated gradients".into();
            return Err(Error::Factor { what, expected: ">= 1", found: 0.0 });
        }
        let head = StepInput {
            grad_factor: narrow(1.0 / f64::from(self.accumulated)),
            zero_grads: u32::from(self.zero_grads),
            keep_loss_scale: u32::from(self.keep_loss_scale),
            ..bytemuck::Zeroable::zeroed()
        };
        Ok(Input { head, rates, absent })
    }

    /// The learning rate of each tensor, checked.
    fn rates(
        &self,
        groups: &[Group],
        group_of: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Vec<f32>> {
        let (given, expected, each) = match self.rates {
            Rates::PerGroup(rates) => (rates.len(), groups.len(), "group"),
            Rates::PerTensor(rates) => (rates.len(), group_of.len(), "tensor"),
            Rates::Factor(_) | Rates::All(_) | Rates::OfGroup(_) => (0, 0, ""),
        };
        if given != expected {
            return Err(Error::LearningRateCount { each, expected, found: given });
        }
        if let Rates::All(_) = self.rates {
            let mut differing =
                groups.windows(2).filter(|two| two[0].rule.lr() != two[1].rule.lr());
            if let Some([group, other]) = differing.next() {
                return Err(Error::LearningRatesDiffer {
                    group: group.name.clone(),
                    lr: group.rule.lr(),
                    other: other.name.clone(),
                    other_lr: other.rule.lr(),
                });
            }
        }
        if let Rates::PerTensor(rates) = self.rates {
            let largest: Vec<f64> = groups.iter().map(largest_hyper).collect();
            let of_tensor = |(group, lr): (usize, &f64)| rate(&groups[group], largest[group], *lr);
            return group_of.zip(rates).map(of_tensor).collect();
        }
        let of_group = |(index, group): (usize, &Group)| {
            let lr = match self.rates {
                Rates::Factor(factor) => group.lr() * factor,
                Rates::All(lr) => lr * group.lr_scale,
                Rates::OfGroup(lr_of) => lr_of(group),
                Rates::PerGroup(rates) | Rates::PerTensor(rates) => rates[index],
            };
            rate(group, largest_hyper(group), lr)
        };
        let of_groups: Vec<f32> = groups.iter().enumerate().map(of_group).collect::<Result<_>>()?;
        Ok(group_of.map(|group| of_groups[group]).collect())
    }
}

/// The indices of some of the tensors, checked.
pub(super) fn indices(ids: &[TensorId], tensors: usize) -> Result<Vec<usize>> {
    let index = |id: &TensorId| match id.0 {
        index if index < tensors => Ok(index),
        index => Err(Error::UnknownTensor { index, len: tensors }),
    };
    ids.iter().map(index).collect()
}

/// The largest magnitude of what a group's rule makes its scalars of.
fn largest_hyper(group: &Group) -> f64 {
    let hypers = group.rule.step_hyper();
    let largest = |largest: f64, hyper: f64| {
        // NaN stays, and is told as a rate that is not finite.
        if hyper > largest || hyper.is_nan() { hyper } else { largest }
    };
    hypers.iter().map(|(_, hyper)| hyper.abs()).fold(0.0, largest)
}

/// A group's learning rate for the GPU: finite there, also times what the rule makes its scalars of, and the group's own
/// where that is fixed.
fn rate(group: &Group, largest_hyper: f64, lr: f64) -> Result<f32> {
    let is_finite = |value: f64| narrow(value).is_finite();
    let fixed = group.rule.lr();
    let expected = if !(is_finite(lr) && lr >= 0.0 && is_finite(lr * largest_hyper)) {
        "finite and >= 0".into()
    } else if group.rule.has_fixed_lr() && narrow(lr) != narrow(fixed) {
        format!("{fixed}, which {} takes once and for all", group.rule.name())
    } else {
        return Ok(narrow(lr));
    };
    Err(Error::LearningRate { group: group.name.clone(), expected, found: lr })
}
