//! A step of some tensors together.

use crate::{
    number::Number,
    rules::{Rule, Scalars, Scope},
    steering::Steered,
    tensor::Tensor,
};

/// One step of these tensors with one rule; for each its learning rate and its gradient, if it has one.
///
/// # Panics
/// If there is not one of each.
pub fn step_all<T: Number>(
    rule: &dyn Rule,
    tensors: &mut [Tensor<T>],
    lrs: &[f64],
    grads: &[Option<&[T]>],
) {
    step_groups(&vec![rule; tensors.len()], tensors, lrs, grads);
}

/// One step of these tensors, each with a rule of its own; those that sum over the optimizer differ in no more
/// than what a group may have of its own.
///
/// # Panics
/// If there is not one of each.
pub fn step_groups<T: Number>(
    rules: &[&dyn Rule],
    tensors: &mut [Tensor<T>],
    lrs: &[f64],
    grads: &[Option<&[T]>],
) {
    let len = tensors.len();
    assert_eq!([rules.len(), lrs.len(), grads.len()], [len; 3], "one of each for {len} tensors");
    let is_of_all = rules.iter().any(|rule| rule.scope() == Scope::Optimizer);
    let mut proposals = Vec::new();
    for (index, (tensor, (rule, lr))) in tensors.iter_mut().zip(rules.iter().zip(lrs)).enumerate() {
        // A rule that sums over the optimizer freezes what has no learning rate.
        let Some(grad) = grads[index].filter(|_| !is_of_all || *lr > 0.0) else {
            if rule.keeps_without_grad() {
                T::scalars(*rule, tensor.step, *lr, &mut tensor.kept);
            }
            continue;
        };
        let turned = |grad: &T| if rule.maximize() { -*grad } else { *grad };
        let grad: Vec<T> = grad.iter().map(turned).collect();
        let mut kept = tensor.kept.map(Into::into);
        let scalars = tensor.begin(*rule, *lr, &grad);
        let exact = rule.exact_scalars(tensor.step, *lr, &mut kept);
        let steered = tensor.steer(*rule, (*lr, exact), &grad);
        let sums = match rule.scope() {
            Scope::Element => [0.0; 2],
            Scope::Tensor | Scope::Optimizer => tensor.sums(*rule, &scalars, &grad),
        };
        proposals.push(Proposal { index, scalars, grad, sums, steered });
    }
    if is_of_all {
        let mut total = [0.0; 2];
        for Proposal { sums, .. } in &proposals {
            total = [total[0] + sums[0], total[1] + sums[1]];
        }
        let kept = rules[0].settle(total, tensors[0].kept.map(Into::into)).map(T::nearest);
        tensors.iter_mut().for_each(|tensor| tensor.kept = kept);
        proposals.iter_mut().for_each(|proposal| proposal.sums = total);
    }
    for Proposal { index, mut scalars, grad, sums, mut steered } in proposals {
        let (rule, tensor) = (rules[index], &mut tensors[index]);
        if rule.scope() != Scope::Element {
            let kept = tensor.kept.map(Into::into);
            let decided = rule.decide(sums, grad.len(), scalars.map(Into::into), &kept);
            scalars = decided.map(T::nearest);
            if let Some(steered) = &mut steered {
                steered.scalars = rule.decide(sums, grad.len(), steered.scalars, &kept);
            }
        }
        tensor.apply(rule, &scalars, &grad, steered.as_ref());
    }
}

/// What a tensor brings to a step before anything is decided.
struct Proposal<T> {
    index: usize,
    scalars: Scalars<T>,
    grad: Vec<T>,
    sums: [f64; 2],
    steered: Option<Steered>,
}
