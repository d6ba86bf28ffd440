//! Tensors that stand still for a while.

use super::{Optimizer, info::PerStep};
use crate::{Result, Select, TensorId};

impl Optimizer {
    /// The tensors that this selects, in their order.
    ///
    /// # Errors
    /// [`Error::Glob`](crate::Error::Glob); [`Error::NoMatch`](crate::Error::NoMatch) if a glob or a name in it matches
    /// no tensor, or it selects none.
    pub fn select(&self, select: impl Into<Select>) -> Result<Vec<TensorId>> {
        let (ids, specs): (Vec<TensorId>, Vec<_>) = self.tensors().unzip();
        Ok(select.into().of(specs)?.into_iter().map(|index| ids[index]).collect())
    }

    /// Freezes these tensors: from the next step on they have no gradient in any, until they are
    /// [unfrozen](Self::unfreeze). Parameter, state and step counter stay as they are to the bit, no weight decays, and
    /// nothing of them counts in a norm. It is torch's `requires_grad_(False)` with gradients that are `None`.
    ///
    /// ```no_run
    /// use fallline::{Optimizer, Select, Step};
    ///
    /// /// The head alone for 100 steps, then all of it.
    /// fn fine_tune(optimizer: &mut Optimizer) -> fallline::Result<()> {
    ///     optimizer.freeze(Select::glob("*").except("head.*"))?;
    ///     for t in 0..1000 {
    ///         if t == 100 {
    ///             optimizer.unfreeze("*")?;
    ///         }
    ///         optimizer.step(&Step::new())?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Nothing is allocated or compiled anew, and steps that are recorded already are as they were recorded. Estimates of
    /// the Hessian's diagonal pass such tensors by too. What lies in their gradients stays, also where a step
    /// [sets gradients to zero](crate::Step::zero_grads): write these before they count again.
    ///
    /// What is frozen is configuration, as groups are: it is not saved (nor does torch's `state_dict` have it), and loading
    /// leaves it as it is.
    ///
    /// # Errors
    /// As [`select`](Self::select). Nothing changes then.
    pub fn freeze(&mut self, select: impl Into<Select>) -> Result<()> {
        self.set_frozen(select.into(), true)
    }

    /// Lets these tensors go on from where they were [frozen](Self::freeze). It is no error if they were not.
    ///
    /// # Errors
    /// As [`select`](Self::select). Nothing changes then.
    pub fn unfreeze(&mut self, select: impl Into<Select>) -> Result<()> {
        self.set_frozen(select.into(), false)
    }

    /// Whether a tensor is [frozen](Self::freeze).
    ///
    /// # Errors
    /// [`Error::UnknownTensor`](crate::Error::UnknownTensor).
    pub fn is_frozen(&self, id: TensorId) -> Result<bool> {
        Ok(self.info(id)?.frozen)
    }

    fn set_frozen(&mut self, select: Select, frozen: bool) -> Result<()> {
        for id in self.select(select)? {
            self.infos[id.0].frozen = frozen;
        }
        self.per_step = PerStep::of(&self.infos);
        Ok(())
    }

    /// The indices of tensors that are frozen.
    pub(super) fn frozen(&self) -> impl Iterator<Item = usize> {
        let frozen = self.infos.iter().enumerate().filter(|(_, info)| info.frozen);
        frozen.map(|(index, _)| index)
    }
}
