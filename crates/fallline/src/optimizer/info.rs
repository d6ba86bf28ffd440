//! What is known of each tensor.

use crate::{Slot, StateFormat, TensorSpec};

/// A tensor, checked.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) spec: TensorSpec,
    pub(crate) group: usize,
    pub(crate) state: StateFormat,
    /// Its rule's number among those of the optimizer.
    pub(crate) rule: usize,
    /// What its rule keeps, and what comes after its updates.
    pub(crate) slots: Vec<Slot>,
    pub(crate) len_elems: u64,
    /// Whether it was taken out: its number is not given again.
    pub(crate) gone: bool,
    /// Whether it has no gradient in any step for now.
    pub(crate) frozen: bool,
}

impl Info {
    /// Where it begins in the tensor that it is a piece of.
    pub(super) fn whole_elem(&self) -> u64 {
        self.spec.whole.map_or(0, |whole| whole.first_elem)
    }
}

/// What every step asks of all tensors, apart from the rest of what is known of them: few cache lines, since a step finds
/// them cold behind other work.
#[derive(Debug)]
pub(super) struct PerStep {
    /// The group of each tensor.
    pub(super) groups: Vec<usize>,
    /// The tensors without gradient in any step: taken out, or frozen.
    pub(super) absent: Vec<usize>,
}

impl PerStep {
    pub(super) fn of(infos: &[Info]) -> Self {
        let absent = infos.iter().enumerate().filter(|(_, info)| info.gone || info.frozen);
        Self {
            groups: infos.iter().map(|info| info.group).collect(),
            absent: absent.map(|(index, _)| index).collect(),
        }
    }
}
