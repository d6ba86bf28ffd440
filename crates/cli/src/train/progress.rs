//! How far a run has come: what a checkpoint keeps of it besides the optimizer.

use anyhow::{Result, ensure};
use fallline::{monitor::Recorder, schedule::SchedulerState};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    models::Model,
    number::Number,
    run::{Point, Settings},
    watch::{Measured, Report},
};
use crate::rule::RuleName;

/// A run so far. The order of its examples is not kept: the seed gives it anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The mean loss of each step's batch, as the model was before the step.
    pub(super) losses: Vec<f64>,
    /// A point for each round that is over.
    pub(super) curve: Vec<Point>,
    /// What the optimizer has reported in the round that is not.
    pub(super) reports: Vec<Report>,
    /// What the log's next records need of the steps so far, if there is a log.
    pub(super) recorder: Option<Recorder>,
    /// Where each schedule is; none of a run that has not begun.
    pub(super) schedules: Vec<SchedulerState>,
    /// Of earlier processes.
    pub(super) seconds: f64,
}

/// The same as a checkpoint has it, with what the run was begun with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    begun_with: BegunWith,
    losses: Vec<Number>,
    curve: Vec<SavedPoint>,
    reports: Vec<Report>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recorder: Option<Recorder>,
    schedules: Vec<SchedulerState>,
    seconds: f64,
}

/// A point of the curve, without where it lies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPoint {
    train_loss: Number,
    test_loss: Number,
    test_accuracy: Number,
    loss_scale: Option<f32>,
    skipped: Option<u32>,
    norm: Option<Number>,
}

impl Saved {
    /// A run that has taken so many seconds.
    pub(super) fn new(begun_with: &BegunWith, progress: &Progress, seconds: f64) -> Self {
        let Progress { losses, curve, reports, recorder, schedules, .. } = progress;
        let point = |point: &Point| SavedPoint {
            train_loss: point.train_loss.into(),
            test_loss: point.test_loss.into(),
            test_accuracy: point.test_accuracy.into(),
            loss_scale: point.measured.loss_scale,
            skipped: point.measured.skipped,
            norm: point.measured.norm.map(Number::from),
        };
        Self {
            begun_with: begun_with.clone(),
            losses: losses.iter().copied().map(Number::from).collect(),
            curve: curve.iter().map(point).collect(),
            reports: reports.clone(),
            recorder: recorder.clone(),
            schedules: schedules.clone(),
            seconds,
        }
    }

    /// Steps of the optimizer so far.
    pub(super) fn steps(&self) -> u64 {
        self.losses.len() as u64
    }

    /// Whether a run that is begun in this way is the one that was saved.
    pub(super) fn check(&self, begun_with: &BegunWith) -> Result<()> {
        let BegunWith(found) = begun_with;
        let BegunWith(saved) = &self.begun_with;
        let of = |all: &[(String, Value)], key: &str| {
            let own = all.iter().find(|(known, _)| known == key);
            own.map_or("none".to_owned(), |(_, value)| value.to_string())
        };
        for (key, _) in found.iter().chain(saved) {
            let (saved, found) = (of(saved, key), of(found, key));
            ensure!(saved == found, "the run was begun with {key} {saved}, not {found}");
        }
        Ok(())
    }

    /// The progress of a run of this model.
    pub(super) fn progress(self, model: &dyn Model) -> Result<Progress> {
        let Self { losses, curve, reports, recorder, schedules, seconds, .. } = self;
        let rounds = model.plan().rounds().take_while(|round| losses.len() >= round.end as usize);
        let rounds: Vec<_> = rounds.collect();
        ensure!(
            curve.len() == rounds.len(),
            "{} steps end {} rounds, found {}",
            losses.len(),
            rounds.len(),
            curve.len()
        );
        let point = |(saved, end): (SavedPoint, u32)| Point {
            at: model.at(end),
            train_loss: saved.train_loss.into(),
            test_loss: saved.test_loss.into(),
            test_accuracy: saved.test_accuracy.into(),
            measured: Measured {
                loss_scale: saved.loss_scale,
                skipped: saved.skipped,
                norm: saved.norm.map(f64::from),
            },
        };
        let curve = curve.into_iter().zip(rounds.iter().map(|round| round.end)).map(point);
        Ok(Progress {
            curve: curve.collect(),
            losses: losses.into_iter().map(f64::from).collect(),
            reports,
            recorder,
            schedules,
            seconds,
        })
    }
}

/// All that a run's numbers depend on, by the names of options as far as they have any; the most telling first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BegunWith(Vec<(String, Value)>);

pub(super) fn begun_with(
    model: &dyn Model,
    (rule, lr): (RuleName, f64),
    settings: &Settings,
) -> Result<BegunWith> {
    let Settings { seed, numerics, around, schedule, monitor: _, config } = settings;
    let plan = model.plan();
    let own: [(&str, Value); 7] = [
        ("model", model.title().into()),
        ("data", model.caption().into()),
        ("steps", plan.steps.into()),
        ("steps from test to test", plan.steps_per_round.into()),
        ("rule", rule.as_str().into()),
        ("lr", lr.into()),
        ("seed", (*seed).into()),
    ];
    let mut all: Vec<_> = own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if let Some(configured) = config {
        all.extend(configured.entries());
    }
    for part in [
        serde_json::to_value(numerics)?,
        serde_json::to_value(around)?,
        serde_json::to_value(schedule)?,
    ] {
        let Value::Object(part) = part else { continue };
        all.extend(part.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Ok(BegunWith(all))
}
