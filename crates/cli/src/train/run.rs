//! One training run: a rule, its steps, and the curve that comes of it.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use fallline::{Gpu, Monitor};

use super::{
    checkpoints::Saves,
    file::Configured,
    log::LogFile,
    models::{At, Model, Score},
    progress::Progress,
    random::Random,
    schedule::Chosen,
    training::Training,
    watch::Measured,
};
use crate::{around::Around, precision::Numerics, rule::RuleName};

/// What a run is made of, apart from its model and its rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) numerics: Numerics,
    pub(super) around: Around,
    pub(super) schedule: Chosen,
    /// What is told of single steps; nothing of it changes them.
    pub(super) monitor: Option<Monitor>,
    /// The optimizer that a file describes: numbers and what is around rules are then those of its base.
    pub(super) config: Option<Arc<Configured>>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Point {
    #[serde(flatten)]
    pub(super) at: At,
    /// Mean over the steps since the last point, each example as the model was when it came.
    pub(super) train_loss: f64,
    /// Mean over the examples that were not trained with.
    pub(super) test_loss: f64,
    /// The part of them that was classified rightly.
    pub(super) test_accuracy: f64,
    #[serde(flatten)]
    pub(super) measured: Measured,
}

/// A run that Ctrl-C has stopped.
#[derive(Clone, Debug)]
pub(super) struct Stopped {
    /// Where it is saved, if it is.
    pub(super) path: Option<PathBuf>,
}

/// A run that is over, or was stopped.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) rule: RuleName,
    pub(super) lr: f64,
    pub(super) seconds: f64,
    /// A point for each round that is over.
    pub(super) curve: Vec<Point>,
    /// Labels that were learned from, as often as they were.
    pub(super) rows: u64,
    /// The mean loss of each step's batch, as the model was before the step.
    pub(super) losses: Vec<f64>,
    /// Whether it was stopped before its end.
    pub(super) stopped: Option<Stopped>,
    /// How the last test ends with the average of the parameters in their place, if there is one.
    pub(super) average: Option<Score>,
    /// What the model has written by itself.
    pub(super) sample: Option<String>,
}

impl Run {
    /// Steps of the optimizer, skipped ones included.
    pub(super) fn steps(&self) -> usize {
        self.losses.len()
    }

    /// Its last point; there must be one.
    pub(super) fn last(&self) -> Point {
        self.curve[self.curve.len() - 1]
    }

    /// How it ended.
    pub(super) fn score(&self) -> Score {
        let Point { test_loss, test_accuracy, .. } = self.last();
        Score { loss: test_loss, accuracy: test_accuracy }
    }

    /// How many steps were skipped, if any could be.
    pub(super) fn skipped(&self) -> Option<u32> {
        self.curve.iter().map(|point| point.measured.skipped).sum()
    }
}

/// Trains a model from its beginning, or from where it was saved, to its end or until Ctrl-C.
pub(super) fn train(
    gpu: &Gpu,
    model: &dyn Model,
    (rule, lr): (RuleName, f64),
    settings: &Settings,
    saves: &Saves,
    log: Option<&LogFile>,
    mut on_point: impl FnMut(&Point) -> Result<()>,
) -> Result<Run> {
    let mut random = Random::new(settings.seed);
    let mut order = model.order(&mut random);
    let mut training = Training::new(gpu, model, (rule, lr), settings, saves, log, &mut random)?;
    let mut stopped = None;
    for round in model.plan().rounds() {
        // Also of rounds that are over: each begins with the order of the last.
        model.next_round(&mut order, &mut random);
        if training.is_over(&round) {
            continue;
        }
        match training.round(model, &order, &round)? {
            Ok(point) => on_point(&point)?,
            Err(stop) => stopped = Some(stop),
        }
        if stopped.is_none() {
            stopped = training.end_round()?;
        }
        if stopped.is_some() {
            break;
        }
    }
    let is_whole = stopped.is_none();
    let averages = is_whole && training.averages();
    let average = averages.then(|| training.test_average()).transpose()?;
    let (seconds, rows) = (training.seconds(), training.rows());
    let sample = if is_whole { training.sample(model, settings.seed)? } else { None };
    let Progress { curve, losses, .. } = training.progress();
    Ok(Run { rule, lr, seconds, curve, rows, losses, stopped, average, sample })
}

#[cfg(test)]
mod tests {
    use fallline::{Dtype, Precision};

    use super::*;
    use crate::{precision::LossScale, train::models::Perceptron};

    #[test]
    fn same_seed_same_bits() -> Result<()> {
        let gpu = Gpu::from_env()?;
        let model = Perceptron::new(2, "100", 16)?;
        let numerics = Numerics {
            param: Dtype::Bf16,
            grad: Dtype::F16,
            precision: Precision::Stochastic,
            loss_scale: LossScale::Fixed(1024.0),
            clip: Some(1.0),
            ..Numerics::default()
        };
        let plain = Settings {
            seed: 3,
            numerics: Numerics::default(),
            around: Around::default(),
            schedule: Chosen::default(),
            monitor: None,
            config: None,
        };
        let curve = |settings: &Settings| -> Result<Vec<Point>> {
            let (rule, saves) = ((RuleName::ADAMW, 0.01), Saves::default());
            Ok(train(&gpu, &model, rule, settings, &saves, None, |_| Ok(()))?.curve)
        };
        for settings in [plain.clone(), Settings { numerics, ..plain }] {
            let first = curve(&settings)?;
            assert_eq!(first, curve(&settings)?);
            assert_ne!(first, curve(&Settings { seed: 4, ..settings.clone() })?);
            assert!(first[1].train_loss < first[0].train_loss);
        }
        Ok(())
    }
}
