//! What the last steps measured and decided.

use super::Optimizer;
use crate::{Error, Result, StepReport};

impl Optimizer {
    /// The reports that have arrived from the GPU since the last call, in order; never waits. A step
    /// itself neither copies nor maps anything: this asks for what is not here yet, and a later
    /// call hands it out.
    ///
    /// The GPU keeps the last 64 steps: who asks less often sees a gap in [`StepReport::step`].
    ///
    /// # Errors
    /// [`Error::NothingToReport`] if the optimizer measures nothing; [`Error::DeviceLost`].
    pub fn poll_reports(&mut self) -> Result<Vec<StepReport>> {
        let reports = self.reports.as_mut().ok_or(Error::NothingToReport)?;
        reports.poll(&self.gpu)
    }

    /// The reports of all steps that were submitted, as far as they were not handed out before (and
    /// no more than 64).
    ///
    /// # Errors
    /// As [`poll_reports`](Self::poll_reports).
    pub async fn fetch_reports(&mut self) -> Result<Vec<StepReport>> {
        let reports = self.reports.as_mut().ok_or(Error::NothingToReport)?;
        reports.fetch(&self.gpu).await
    }
}
