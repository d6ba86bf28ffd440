//! What the optimizer reports of its steps, gathered for each round.

use std::mem;

use fallline::{
    Optimizer, Result, StepReport,
    monitor::{Record, Recorder},
};
use serde::{Deserialize, Serialize};

use super::number::Number;
use crate::precision::Numerics;

/// What was measured in a round, each only if the options ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Measured {
    /// Of its last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss_scale: Option<f32>,
    /// Steps that were skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<u32>,
    /// Of all gradients before clipping: mean over the steps that were not skipped, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) norm: Option<f64>,
}

/// Takes the reports while they are there: the GPU keeps only the last 64.
#[derive(Debug)]
pub(super) struct Watch {
    scales: bool,
    clips: bool,
    recorder: Option<Recorder>,
    /// The round's, so far.
    reports: Vec<Report>,
    /// Of monitored steps, until they are taken.
    records: Vec<Record>,
}

/// What is kept of a report until the round is over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    skipped: bool,
    norm: Number,
    loss_scale: f32,
}

impl From<&StepReport> for Report {
    fn from(StepReport { skipped, norm, loss_scale, .. }: &StepReport) -> Self {
        Self { skipped: *skipped, norm: f64::from(*norm).into(), loss_scale: *loss_scale }
    }
}

impl Watch {
    /// Behind these reports of the round; with a recorder if steps are monitored.
    pub(super) fn new(
        numerics: &Numerics,
        recorder: Option<Recorder>,
        reports: Vec<Report>,
    ) -> Self {
        let (scales, clips) = (numerics.scales(), numerics.clip.is_some());
        Self { scales, clips, recorder, reports, records: Vec::new() }
    }

    /// To be called after each submission; never waits.
    ///
    /// With no more than 16 steps in a submission nothing is lost: the host is at most 64 steps
    /// ahead of the GPU, which has done the oldest of the three copies under way by then.
    pub(super) fn poll(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        if self.measures() {
            let reports = optimizer.poll_reports()?;
            self.add(optimizer, reports);
        }
        Ok(())
    }

    /// Waits for the last step, and gives the reports of the round so far.
    pub(super) fn wait(&mut self, optimizer: &mut Optimizer) -> Result<&[Report]> {
        if self.measures() {
            let reports = optimizer.wait_reports()?;
            self.add(optimizer, reports);
        }
        Ok(&self.reports)
    }

    /// What the monitored steps tell since the last time.
    pub(super) fn take_records(&mut self) -> Vec<Record> {
        mem::take(&mut self.records)
    }

    /// As it is behind the steps that were reported.
    pub(super) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Whether the optimizer measures anything.
    fn measures(&self) -> bool {
        self.scales || self.clips || self.recorder.is_some()
    }

    fn add(&mut self, optimizer: &Optimizer, reports: Vec<StepReport>) {
        self.reports.extend(reports.iter().map(Report::from));
        if let Some(recorder) = &mut self.recorder {
            self.records.extend(recorder.take(optimizer, reports));
        }
    }

    /// Waits for the round's last step.
    pub(super) fn end_round(&mut self, optimizer: &mut Optimizer) -> Result<Measured> {
        self.wait(optimizer)?;
        Ok(measured(&mem::take(&mut self.reports), self.scales, self.clips))
    }
}

fn measured(reports: &[Report], scales: bool, clips: bool) -> Measured {
    let taken = || reports.iter().filter(|report| !report.skipped);
    let count = |reports: usize| u32::try_from(reports).unwrap_or(u32::MAX);
    let sum: f64 = taken().map(|report| f64::from(report.norm)).sum();
    let scale = reports.last().map(|report| report.loss_scale);
    Measured {
        loss_scale: scale.filter(|_| scales),
        skipped: scales.then(|| count(reports.len() - taken().count())),
        norm: clips.then(|| sum / f64::from(count(taken().count()))),
    }
}
