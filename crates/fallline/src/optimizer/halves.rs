//! A step in two halves, with exact sums between them.

use wgpu::CommandEncoder;

use super::{Lies, Optimizer, Step, borrowed::Ready};
use crate::{
    Error, Result,
    abi::Total,
    control::{Control, Sums, Written},
    transfer,
};

/// The first half of a step, recorded: to be given to the second.
#[derive(Debug)]
pub struct MeasuredStep {
    written: Written,
    /// What it was measured with: another step may need larger inputs before the second half.
    control: Control,
    /// Where tensors lay, if they are the caller's.
    ready: Option<Ready>,
}

impl Optimizer {
    /// Records the first half of a step: gradients are measured, and nothing is decided. For an optimizer
    /// that is a part of one, with others over other tensors, or [pieces](crate::Whole) of them, of the same
    /// groups.
    ///
    /// ```text
    /// encode_measure → submit → fetch_sums → add those of all parts → encode_update → submit
    /// ```
    ///
    /// # Errors
    /// As [`encode_step`](Self::encode_step); [`Error::NothingToReport`] if the optimizer measures
    /// nothing, and so has nothing to agree upon.
    pub fn encode_measure(
        &mut self,
        encoder: &mut CommandEncoder,
        step: &Step<'_>,
    ) -> Result<MeasuredStep> {
        if !self.always_measures() {
            return Err(Error::NothingToReport);
        }
        let written = self.prepare(step)?.ok_or(Error::NothingToReport)?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("fallline measure"),
            timestamp_writes: None,
        });
        let ready = match &self.lies {
            Lies::Arena { .. } => None,
            Lies::Borrowed(borrowed) => Some(borrowed.ready().clone()),
        };
        self.control.record_measure(&mut pass, &written, self.lies.rows());
        Ok(MeasuredStep { written, control: self.control.clone(), ready })
    }

    /// Reads what was measured last, once that is submitted.
    ///
    /// # Errors
    /// [`Error::NothingToReport`], [`Error::DeviceLost`].
    pub async fn fetch_sums(&self) -> Result<Sums> {
        let measure = self.control.measure().ok_or(Error::NothingToReport)?;
        let groups = self.groups.len() as u64;
        let totals: Vec<Total> = transfer::fetch(&self.gpu, &measure.totals, 0, groups).await?;
        Ok(Sums::new(&totals))
    }

    /// Records the second half of a step: what is decided goes by these sums, and tensors are updated where
    /// they lay when they were measured.
    ///
    /// # Errors
    /// [`Error::SumCount`]; [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub fn encode_update(
        &mut self,
        encoder: &mut CommandEncoder,
        measured: MeasuredStep,
        sums: &Sums,
    ) -> Result<()> {
        self.needs_trained("a step")?;
        let (expected, found) = (self.groups.len(), sums.groups());
        if found != expected {
            return Err(Error::SumCount { expected, found });
        }
        let MeasuredStep { written, control, ready } = measured;
        control.inputs.write_totals(&self.gpu, &written, &sums.totals())?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("fallline update"),
            timestamp_writes: None,
        });
        let rows = ready.as_ref().map_or_else(|| self.lies.rows(), |ready| &ready.rows);
        control.record_decide(&mut pass, &written, rows, true);
        let entry = match ready {
            Some(ready) => {
                ready.record(&mut pass, &control, &written);
                control.record_monitoring(&mut pass, &written);
                written.entry
            }
            None => self.record_update(&mut pass, written),
        };
        pass.on_submitted_work_done(move || drop(entry));
        Ok(())
    }
}
