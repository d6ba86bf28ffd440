//! One training run: a rule, its steps, and the curve that comes of it.

use std::time::Instant;

use fallline::{Estimate, Gpu, Optimizer, Step};

use super::{
    models::{At, Model, Network, Score, encoder},
    random::Random,
    recipe,
    schedule::Chosen,
    watch::{Measured, Watch},
};
use crate::{around::Around, precision::Numerics, rule::RuleName};

/// Steps in one submission: enough for the GPU not to wait, fewer than an optimizer takes, and few
/// enough for no report to be lost.
const STEPS_PER_SUBMISSION: u32 = 16;

/// Steps from one estimate of the Hessian to the next, of a rule that takes them: Sophia's.
const STEPS_PER_ESTIMATE: u32 = 10;

/// What a run is made of, apart from its model and its rule.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) numerics: Numerics,
    pub(super) around: Around,
    pub(super) schedule: Chosen,
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

/// A finished run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) rule: RuleName,
    pub(super) lr: f64,
    pub(super) seconds: f64,
    /// Steps of the optimizer, skipped ones included.
    pub(super) steps: u32,
    /// At least one point.
    pub(super) curve: Vec<Point>,
    /// Labels that were learned from, as often as they were.
    pub(super) rows: u64,
    /// The mean loss of each step's batch, as the model was before the step.
    pub(super) losses: Vec<f64>,
    /// How the last test ends with the average of the parameters in their place, if there is one.
    pub(super) average: Option<Score>,
    /// What the model has written by itself.
    pub(super) sample: Option<String>,
}

impl Run {
    /// Its last point.
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

/// Trains a model from its beginning.
pub(super) fn train(
    gpu: &Gpu,
    model: &dyn Model,
    (rule, lr): (RuleName, f64),
    settings: &Settings,
    mut on_point: impl FnMut(&Point) -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let begin = Instant::now();
    let mut random = Random::new(settings.seed);
    let mut order = model.order(&mut random);

    let numerics = &settings.numerics;
    let options = numerics.options(gpu, rounding_seed(settings.seed))?;
    let tensors: Vec<_> = model.tensors().into_iter().map(|spec| numerics.spec(spec)).collect();
    let groups = recipe::groups(rule, lr).map(|group| settings.around.of(numerics.group(group)));
    let takes_estimates = groups[0].rule.takes_estimates();
    let is_schedule_free = groups[0].rule.evaluates();
    let mut optimizer = Optimizer::arena_with(gpu, &groups, &tensors, &options)?;
    model.init(&optimizer, &mut random)?;
    let mut network = Network::new(&optimizer, model, options.loss_scaler.as_ref())?;
    let mut watch = Watch::new(numerics);

    let plan = model.plan();
    let mut rates = settings.schedule.rates(plan, (rule, lr))?;
    let (mut rows, mut curve, mut losses) = (0, Vec::new(), Vec::new());
    for round in plan.rounds() {
        model.next_round(&mut order, &mut random);
        let scores = gpu.checked("a round", || {
            network.write_round(&order, round.end - round.start);
            for first in round.clone().step_by(STEPS_PER_SUBMISSION as usize) {
                let mut encoder = encoder(gpu);
                for step in first..round.end.min(first + STEPS_PER_SUBMISSION) {
                    let batch = step - round.start;
                    if takes_estimates && batch.is_multiple_of(STEPS_PER_ESTIMATE) {
                        network.encode_drawn(&mut encoder, batch);
                        let rows = network.rows(batch).into();
                        optimizer.encode_estimate(&mut encoder, &Estimate::squared(rows))?;
                    }
                    rows += u64::from(network.rows(batch));
                    network.encode_backward(&mut encoder, batch);
                    optimizer.encode_step(&mut encoder, &Step::lr_per_group(&rates.lrs()))?;
                    rates.step();
                }
                gpu.queue().submit([encoder.finish()]);
                watch.poll(&mut optimizer)?;
            }
            if is_schedule_free {
                optimizer.eval()?;
            }
            let scores = network.test()?;
            optimizer.train()?;
            anyhow::Ok(scores)
        })??;
        losses.extend(scores.steps.iter().map(|score| score.loss));
        let point = Point {
            at: model.at(round.end),
            train_loss: scores.train.loss,
            test_loss: scores.test.loss,
            test_accuracy: scores.test.accuracy,
            measured: watch.end_round(&mut optimizer)?,
        };
        rates.observe(point.test_loss);
        on_point(&point)?;
        curve.push(point);
    }
    let mut average = None;
    optimizer.eval()?;
    if settings.around.averages() {
        average = Some(network.test()?.test);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let sample = model.sample(&optimizer, &mut Random::new(settings.seed))?;
    Ok(Run { rule, lr, seconds, steps: plan.steps, curve, rows, losses, average, sample })
}

/// Both halves of the seed in the 32 bits that the engine takes.
fn rounding_seed(seed: u64) -> u32 {
    u32::try_from((seed ^ (seed >> 32)) & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use fallline::{Dtype, Precision};

    use super::*;
    use crate::{precision::LossScale, train::models::Perceptron};

    #[test]
    fn same_seed_same_bits() -> anyhow::Result<()> {
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
        };
        let curve = |settings: &Settings| -> anyhow::Result<Vec<Point>> {
            Ok(train(&gpu, &model, (RuleName::ADAMW, 0.01), settings, |_| Ok(()))?.curve)
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
