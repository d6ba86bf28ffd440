//! One training run: a rule, its epochs, and the curve that comes of it.

use std::{f64::consts::PI, time::Instant};

use fallline::{Estimate, Gpu, Group, Optimizer, Step, deserialize_rule, wgpu};
use serde_json::json;

use super::{
    data::{CLASSES, Digits, PIXELS, TRAIN_LEN, split},
    kernel::Batch,
    network::Network,
    random::Random,
    shape::{GROUPS, Shape},
    watch::{Measured, Watch},
};
use crate::{around::Around, precision::Numerics, rule::RuleName};

/// Batches in one submission: enough for the GPU not to wait, fewer than an optimizer takes, and few
/// enough for no report to be lost.
const BATCHES_PER_SUBMISSION: u32 = 16;

/// Steps from one estimate of the Hessian to the next, of a rule that takes them: Sophia's.
const STEPS_PER_ESTIMATE: u32 = 10;

/// What a run is made of, apart from its rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) epochs: u32,
    pub(super) seed: u64,
    pub(super) batch_size: u32,
    pub(super) hidden: u32,
    pub(super) numerics: Numerics,
    pub(super) around: Around,
}

impl Settings {
    pub(super) fn shape(&self) -> Shape {
        Shape(vec![PIXELS, self.hidden, self.hidden, CLASSES])
    }
}

/// The learning rate that the rule likes here.
pub(super) fn default_lr(rule: RuleName) -> f64 {
    match rule.as_str() {
        "adamw" | "adam" => 4e-3,
        "sgd" => 0.05,
        "lion" => 3e-4,
        "asgd" => 0.3,
        "rprop" => 2e-3,
        "sophia" => 1e-3,
        _ => rule.rule().lr(),
    }
}

/// The rule for the weights (with decay, where it is decoupled) and for the biases.
fn groups(rule: RuleName, lr: f64) -> [Group; 2] {
    let rule = |weight_decay: f64| {
        let options = match rule.as_str() {
            "adamw" | "lion" | "sophia" => json!({ "lr": lr, "weight_decay": weight_decay }),
            "sgd" => json!({ "lr": lr, "momentum": 0.9 }),
            // Steps that grow on and on leave what they have learned.
            "rprop" => json!({ "lr": lr, "step_sizes": [1e-3 * lr, 3.0 * lr] }),
            // A factor of its relative step.
            "adafactor_hf" => json!({}),
            _ => json!({ "lr": lr }),
        };
        deserialize_rule(rule.as_str(), options).expect("options that the rule has")
    };
    [Group::new(GROUPS[0], rule(0.1)), Group::new(GROUPS[1], rule(0.0))]
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Epoch {
    pub(super) epoch: u32,
    /// Mean over the epoch, each image as the network was when it came.
    pub(super) train_loss: f64,
    /// Mean over the images that were not trained with, at the end of the epoch.
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
    /// One point for each epoch, at least one.
    pub(super) curve: Vec<Epoch>,
    /// The last test accuracy with the average of the parameters in their place, if there is one.
    pub(super) average_accuracy: Option<f64>,
}

impl Run {
    /// How it ended.
    pub(super) fn last(&self) -> Epoch {
        self.curve[self.curve.len() - 1]
    }

    /// How many steps were skipped, if any could be.
    pub(super) fn skipped(&self) -> Option<u32> {
        self.curve.iter().map(|point| point.measured.skipped).sum()
    }
}

/// Trains a network from its beginning; the learning rate falls along a half cosine to zero, unless the rule is
/// schedule-free or its learning rate fixed.
pub(super) fn train(
    gpu: &Gpu,
    digits: &Digits,
    (rule, lr): (RuleName, f64),
    settings: &Settings,
    mut on_epoch: impl FnMut(&Epoch) -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let begin = Instant::now();
    let mut random = Random::new(settings.seed);
    let mut order = split(digits.len(), &mut random);
    let mut batches = cut(0, TRAIN_LEN, settings.batch_size);
    let train_batches = len(&batches);
    batches.extend(cut(TRAIN_LEN, digits.len(), settings.batch_size));
    let all_batches = len(&batches);

    let shape = settings.shape();
    let numerics = &settings.numerics;
    let options = numerics.options(gpu, rounding_seed(settings.seed))?;
    let tensors = shape.tensors(numerics);
    let groups = groups(rule, lr).map(|group| settings.around.of(numerics.group(group)));
    let takes_estimates = groups[0].rule.takes_estimates();
    // A rule that says where it is evaluated has no use for a schedule.
    let is_schedule_free = groups[0].rule.evaluates();
    let mut optimizer = Optimizer::arena_with(gpu, &groups, &tensors, &options)?;
    shape.init(&optimizer, &mut random)?;
    let scaler = options.loss_scaler.as_ref();
    let network = Network::new(&optimizer, &shape, digits, &batches, TRAIN_LEN, scaler)?;
    let mut watch = Watch::new(numerics);

    let steps = f64::from(settings.epochs) * f64::from(train_batches);
    let is_constant = is_schedule_free || rule.rule().has_fixed_lr();
    let cosine = |step: u32| lr * (1.0 + (PI * f64::from(step) / steps).cos()) / 2.0;
    let mut rates = (0u32..).map(|step| if is_constant { lr } else { cosine(step) });
    let test_len = f64::from(digits.len() - TRAIN_LEN);
    let mut curve = Vec::new();
    for epoch in 1..=settings.epochs {
        random.shuffle(&mut order[..TRAIN_LEN as usize]);
        let [learned, tested] = gpu.checked("an epoch", || {
            network.write_order(gpu, &order);
            for first in (0..train_batches).step_by(BATCHES_PER_SUBMISSION as usize) {
                let mut encoder = encoder(gpu);
                let end = train_batches.min(first + BATCHES_PER_SUBMISSION);
                for (batch, rate) in (first..end).zip(&mut rates) {
                    if takes_estimates && batch.is_multiple_of(STEPS_PER_ESTIMATE) {
                        network.encode_drawn(&mut encoder, batch);
                        let rows = batches[batch as usize].rows.into();
                        optimizer.encode_estimate(&mut encoder, &Estimate::squared(rows))?;
                    }
                    network.encode_backward(&mut encoder, batch);
                    optimizer.encode_step(&mut encoder, &Step::lr(rate))?;
                }
                gpu.queue().submit([encoder.finish()]);
                watch.poll(&mut optimizer)?;
            }
            if is_schedule_free {
                optimizer.eval()?;
            }
            let totals = network.test(gpu, train_batches..all_batches)?;
            optimizer.train()?;
            anyhow::Ok(totals)
        })??;
        let point = Epoch {
            epoch,
            train_loss: f64::from(learned.loss) / f64::from(TRAIN_LEN),
            test_loss: f64::from(tested.loss) / test_len,
            test_accuracy: f64::from(tested.hits) / test_len,
            measured: watch.end_epoch(&mut optimizer)?,
        };
        on_epoch(&point)?;
        curve.push(point);
    }
    let mut average_accuracy = None;
    if settings.around.averages() {
        optimizer.eval()?;
        let [_, tested] = network.test(gpu, train_batches..all_batches)?;
        average_accuracy = Some(f64::from(tested.hits) / test_len);
    }
    let steps = settings.epochs.saturating_mul(train_batches);
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Run { rule, lr, seconds, steps, curve, average_accuracy })
}

/// Both halves of the seed in the 32 bits that the engine takes.
fn rounding_seed(seed: u64) -> u32 {
    u32::try_from((seed ^ (seed >> 32)) & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The places `start..end` in batches of at most `rows`.
fn cut(start: u32, end: u32, rows: u32) -> Vec<Batch> {
    let batch = |start| Batch { start, rows: rows.min(end - start) };
    (start..end).step_by(rows as usize).map(batch).collect()
}

pub(super) fn encoder(gpu: &Gpu) -> wgpu::CommandEncoder {
    gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("train") })
}

fn len(batches: &[Batch]) -> u32 {
    u32::try_from(batches.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use fallline::{Dtype, Precision};

    use super::*;
    use crate::precision::LossScale;

    #[test]
    fn batches_cover_every_place_once() {
        let batches: Vec<(u32, u32)> = cut(10, 20, 4).iter().map(|b| (b.start, b.rows)).collect();
        assert_eq!(batches, [(10, 4), (14, 4), (18, 2)]);
    }

    #[test]
    fn same_seed_same_bits() -> anyhow::Result<()> {
        let gpu = Gpu::from_env()?;
        let digits = Digits::load()?;
        let numerics = Numerics {
            param: Dtype::Bf16,
            grad: Dtype::F16,
            precision: Precision::Stochastic,
            loss_scale: LossScale::Fixed(1024.0),
            clip: Some(1.0),
            ..Numerics::default()
        };
        let plain = Settings {
            epochs: 2,
            seed: 3,
            batch_size: 100,
            hidden: 16,
            numerics: Numerics::default(),
            around: Around::default(),
        };
        let curve = |settings: &Settings| -> anyhow::Result<Vec<Epoch>> {
            Ok(train(&gpu, &digits, (RuleName::ADAMW, 0.01), settings, |_| Ok(()))?.curve)
        };
        for settings in [plain, Settings { numerics, ..plain }] {
            let first = curve(&settings)?;
            assert_eq!(first, curve(&settings)?);
            assert_ne!(first, curve(&Settings { seed: 4, ..settings })?);
            assert!(first[1].train_loss < first[0].train_loss);
        }
        Ok(())
    }
}
