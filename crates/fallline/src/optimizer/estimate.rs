//! Estimates of the Hessian's diagonal, handed in between steps.

use wgpu::{CommandEncoder, ComputePass};

use super::{
    Lies, Optimizer,
    aside::{Aside, Task},
    step::indices,
};
use crate::{
    BufferRange, Error, Places, Result, TensorId,
    factors::{check, positive},
    kernel::{KernelKey, Stage},
    rules::narrow,
};

/// How what lies in the gradients' place estimates the Hessian's diagonal; see
/// [`Optimizer::encode_estimate`].
///
/// ```
/// use fallline::Estimate;
///
/// // Gradients of a mean loss over 480 examples, whose labels were drawn from the model.
/// let gauss_newton_bartlett = Estimate::squared(480.0);
/// // u * (H u) of a random u, taken twice and added up.
/// let hutchinson = Estimate::diagonal().factor(0.5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Estimate<'a> {
    squares: bool,
    factor: f64,
    without: &'a [TensorId],
}

impl<'a> Estimate<'a> {
    /// The values are the estimate.
    #[must_use]
    pub const fn diagonal() -> Self {
        Self { squares: false, factor: 1.0, without: &[] }
    }

    /// The values squared, times a factor, are the estimate: of gradients of a mean loss whose labels were drawn from
    /// the model, times the number of examples, it is Gauss-Newton-Bartlett's.
    #[must_use]
    pub const fn squared(factor: f64) -> Self {
        Self { squares: true, factor, without: &[] }
    }

    /// Multiplies the estimate: finite and at least 2^-126. (Divides by the square of the loss scale, say, where the loss
    /// was scaled.)
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// There is none for these tensors: their state stays as it is.
    #[must_use]
    pub const fn without(mut self, tensors: &'a [TensorId]) -> Self {
        self.without = tensors;
        self
    }
}

impl Optimizer {
    /// Records that estimates of the Hessian's diagonal are taken into the state, as one compute pass. They lie where
    /// gradients do, in the gradients' formats: run a backward pass for them, record this, and then run that of
    /// the step.
    ///
    /// ```text
    /// state ← estimate(factor · grad, state)        of every rule that takes estimates: Sophia
    /// ```
    ///
    /// Parameters and step counters stay as they are, tensors whose rule takes none too. Values count as they lie:
    /// nothing is unscaled, clipped or skipped, and one that is not finite is left out. An estimate may be taken
    /// before any step, the first too. Counted among the 64 steps that may be recorded before the first is
    /// submitted.
    ///
    /// ```no_run
    /// use fallline::{Estimate, Optimizer, Step, wgpu};
    ///
    /// # fn backward(encoder: &mut wgpu::CommandEncoder, draws_labels: bool) {}
    /// # fn train(optimizer: &mut Optimizer, encoder: &mut wgpu::CommandEncoder) -> fallline::Result<()> {
    /// for step in 0..1000 {
    ///     if step % 10 == 0 {
    ///         backward(encoder, true); // labels drawn from the model
    ///         optimizer.encode_estimate(encoder, &Estimate::squared(480.0))?;
    ///     }
    ///     backward(encoder, false);
    ///     optimizer.encode_step(encoder, &Step::new())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoEstimates`] if no group's rule takes any; [`Error::Evaluating`]; [`Error::Factor`], [`Error::UnknownTensor`];
    /// [`Error::TooManyUnsubmittedSteps`], [`Error::DeviceLost`], [`Error::OutOfMemory`]. Nothing is recorded then.
    pub fn encode_estimate(
        &mut self,
        encoder: &mut CommandEncoder,
        estimate: &Estimate<'_>,
    ) -> Result<()> {
        if let Some(aside) = self.estimates(estimate, None)? {
            aside.encode(encoder, LABEL);
        }
        Ok(())
    }

    /// As [`encode_estimate`](Self::encode_estimate), into a compute pass of the caller's.
    ///
    /// # Errors
    /// As [`encode_estimate`](Self::encode_estimate).
    pub fn record_estimate(
        &mut self,
        pass: &mut ComputePass<'_>,
        estimate: &Estimate<'_>,
    ) -> Result<()> {
        if let Some(aside) = self.estimates(estimate, None)? {
            aside.record(pass);
        }
        Ok(())
    }

    /// As [`encode_estimate`](Self::encode_estimate), with estimates in buffers of the caller's: for each tensor, in the
    /// format of its gradient, the range where it lies, or `None` if there is none. The optimizer must have been built
    /// with [`borrowed`](Self::borrowed). Gradients stay where they are.
    ///
    /// # Errors
    /// As [`encode_estimate`](Self::encode_estimate); [`Error::NotBorrowed`], [`Error::PlaceCount`], and what is wrong
    /// with a range, as in [`borrowed`](Self::borrowed).
    pub fn encode_estimate_at(
        &mut self,
        encoder: &mut CommandEncoder,
        estimate: &Estimate<'_>,
        estimates: &[Option<BufferRange>],
    ) -> Result<()> {
        if let Some(aside) = self.estimates(estimate, Some(estimates))? {
            aside.encode(encoder, LABEL);
        }
        Ok(())
    }

    /// As [`encode_estimate_at`](Self::encode_estimate_at), into a compute pass of the caller's.
    ///
    /// # Errors
    /// As [`encode_estimate_at`](Self::encode_estimate_at).
    pub fn record_estimate_at(
        &mut self,
        pass: &mut ComputePass<'_>,
        estimate: &Estimate<'_>,
        estimates: &[Option<BufferRange>],
    ) -> Result<()> {
        if let Some(aside) = self.estimates(estimate, Some(estimates))? {
            aside.record(pass);
        }
        Ok(())
    }

    /// Takes estimates in an encoder of its own and submits it; does not wait.
    ///
    /// # Errors
    /// As [`encode_estimate`](Self::encode_estimate); also [`Error::Gpu`] from the submission.
    pub fn estimate(&mut self, estimate: &Estimate<'_>) -> Result<()> {
        let Some(aside) = self.estimates(estimate, None)? else { return Ok(()) };
        aside.submit(&self.gpu, LABEL)
    }

    /// The pass that takes them, checked.
    fn estimates(
        &mut self,
        estimate: &Estimate<'_>,
        elsewhere: Option<&[Option<BufferRange>]>,
    ) -> Result<Option<Aside>> {
        self.needs_trained("an estimate")?;
        if !self.groups.iter().any(|group| group.rule.takes_estimates()) {
            let mut rules: Vec<&str> = self.groups.iter().map(|group| group.rule.name()).collect();
            rules.dedup();
            return Err(Error::NoEstimates { rules: rules.join(", ") });
        }
        let &Estimate { squares, factor, without } = estimate;
        let ok = positive(factor);
        check("the factor of an estimate".into(), "finite and >= 2^-126", factor, ok)?;
        let mut absent = indices(without, self.infos.len())?;
        absent.extend(self.frozen());
        let task = Task {
            stage: Stage::Estimate { squares },
            has: KernelKey::takes_estimates,
            factor: narrow(factor),
            absent: &absent,
            from_step: 0,
        };
        let Some(estimates) = elsewhere else { return self.aside(&task) };
        let Lies::Borrowed(borrowed) = &self.lies else { return Err(Error::NotBorrowed) };
        let grads: Vec<_> = borrowed.places.iter().map(|placed| placed.grad.clone()).collect();
        self.place(&Places { params: None, grads: estimates })?;
        let aside = self.aside(&task);
        // What is recorded keeps the places that it was made for.
        self.place(&Places { params: None, grads: &grads })?;
        aside
    }
}

const LABEL: &str = "fallline estimate";
