//! A parameter as the engine knows it.

use std::sync::{Arc, Weak};

use burn::module::ParamId;
use fallline::{Precision, TensorId, TensorSpec};

use crate::{
    Error, Result,
    fused::Shared,
    place::{Identity, Lent, Pin},
    record::State,
};

/// The right to a slot: who holds it has the parameter's state.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: usize,
}

/// A parameter that is to take a step.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) lr: f64,
    pub(crate) param: Lent,
    pub(crate) grad: Lent,
}

/// A parameter.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) spec: TensorSpec,
    pub(crate) group: usize,
    pub(crate) ticket: Weak<Ticket>,
    /// Its tensor in the optimizer, from its first step on.
    pub(crate) id: Option<TensorId>,
    /// Whose parameter it is, where it was stepped with its module.
    pub(crate) param: Option<ParamId>,
    /// Its tensor in its first step.
    pub(crate) identity: Option<Identity>,
    /// State that the optimizer has not taken yet.
    pub(crate) state: Option<Arc<State>>,
    /// Keeps it where it lay in its last step.
    pub(crate) pin: Option<Pin>,
}

impl Slot {
    /// For a parameter and its gradient.
    pub(crate) fn new(
        (group, precision): (usize, Precision),
        param: &Lent,
        grad: &Lent,
        state: Option<Arc<State>>,
    ) -> Result<Self> {
        let dtype = param.dtype()?;
        let mut spec = TensorSpec::new("", param.shape())
            .dtype(dtype)
            .grad_dtype(grad.dtype()?)
            .in_group(group.to_string());
        if precision.dtypes().contains(&dtype) {
            spec = spec.precision(precision);
        }
        Ok(Self {
            spec,
            group,
            ticket: Weak::new(),
            id: None,
            param: None,
            identity: Some(param.identity()),
            state,
            pin: None,
        })
    }

    /// Whether a parameter and its gradient are what its state belongs to.
    pub(crate) fn check(&self, param: &Lent, grad: &Lent) -> Result<()> {
        let TensorSpec { shape, dtype, grad_dtype, .. } = &self.spec;
        for (lent, expected) in [(param, dtype), (grad, grad_dtype)] {
            let found = (lent.dtype()?, lent.shape());
            if found != (*expected, shape.as_slice()) {
                return Err(Error::Changed {
                    parameter: self.spec.name.clone(),
                    expected: format!("{expected} {shape:?}"),
                    found: format!("{} {:?}", found.0, found.1),
                });
            }
        }
        Ok(())
    }

    /// Whether it has no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.spec.shape.contains(&0)
    }

    /// Is no tensor of the optimizer's any more.
    pub(super) fn leave(&mut self) {
        (self.id, self.param, self.identity, self.pin) = (None, None, None, None);
    }
}
