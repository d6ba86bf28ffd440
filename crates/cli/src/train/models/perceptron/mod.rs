//! A multilayer perceptron that tells handwritten digits apart.
//!
//! | module     | what it holds                                              |
//! |------------|------------------------------------------------------------|
//! | `data`     | the digits, and their split                                |
//! | `layers`   | the kernels                                                |
//! | `gradient` | these against finite differences on the CPU                |

mod data;
#[cfg(test)]
mod gradient;
mod layers;

use anyhow::{Context as _, ensure};
use fallline::{Optimizer, TensorId, TensorSpec};

use self::data::{CLASSES, Digits, PIXELS, TRAIN_LEN};
use super::{
    At, Context, GROUPS, Goal, Layers, Model, Plan,
    examples::{Labels, Places},
};
use crate::{
    rule::RuleName,
    train::{random::Random, recipe},
};

/// Widest hidden layer: its weights then fit every device's smallest binding.
const MAX_HIDDEN: u32 = 4096;

/// A perceptron, and how it is trained.
#[derive(Debug)]
pub(in crate::train) struct Perceptron {
    shape: Shape,
    digits: Digits,
    epochs: u32,
    batch_size: u32,
    places: Places,
}

impl Perceptron {
    /// `batch_size` may be `all` of the images to train with.
    pub(in crate::train) fn new(
        epochs: u32,
        batch_size: &str,
        hidden: u32,
    ) -> anyhow::Result<Self> {
        ensure!(epochs > 0, "--epochs must be at least 1, found 0");
        let images = match batch_size {
            "all" => Some(TRAIN_LEN),
            number => number.parse().ok().filter(|images| (1..=TRAIN_LEN).contains(images)),
        };
        let batch_size = images.with_context(|| {
            format!(
                "--batch-size must be 1 to {TRAIN_LEN} (the images to train with) or all, found {batch_size}"
            )
        })?;
        ensure!(
            (4..=MAX_HIDDEN).contains(&hidden) && hidden.is_multiple_of(4),
            "--hidden must be a multiple of 4 from 4 to {MAX_HIDDEN}, found {hidden}"
        );
        let digits = Digits::load()?;
        let places = Places::new(TRAIN_LEN, digits.len() - TRAIN_LEN, batch_size);
        let shape = Shape(vec![PIXELS, hidden, hidden, CLASSES]);
        Ok(Self { shape, digits, epochs, batch_size, places })
    }
}

impl Model for Perceptron {
    fn title(&self) -> String {
        format!("Perceptron {}", self.shape)
    }

    fn data(&self) -> String {
        let test = self.digits.len() - TRAIN_LEN;
        format!("{TRAIN_LEN} images to train with, {test} to test with")
    }

    fn caption(&self) -> String {
        let (shape, batch_size, images) = (&self.shape, self.batch_size, self.digits.len());
        format!("{images} handwritten digits, perceptron {shape}, batches of {batch_size}")
    }

    fn goal(&self) -> Goal {
        Goal::Accuracy
    }

    fn plan(&self) -> Plan {
        let steps_per_round = u32::try_from(self.places.train.len()).unwrap_or(u32::MAX);
        let steps = self.epochs.saturating_mul(steps_per_round);
        Plan { steps, steps_per_round, warmup_steps: 0 }
    }

    fn at(&self, steps: u32) -> At {
        At::Epoch(steps.div_ceil(self.plan().steps_per_round))
    }

    fn places(&self) -> Places {
        self.places.clone()
    }

    fn default_lr(&self, rule: RuleName) -> f64 {
        recipe::default_lr(rule)
    }

    /// Weight and bias of each layer, by torch's names.
    fn tensors(&self) -> Vec<TensorSpec> {
        let layer = |(layer, (inputs, outputs)): (usize, (u32, u32))| {
            let weight = [outputs as usize, inputs as usize];
            [
                TensorSpec::new(format!("{layer}.weight"), weight).in_group(GROUPS[0]),
                TensorSpec::new(format!("{layer}.bias"), [outputs as usize]).in_group(GROUPS[1]),
            ]
        };
        self.shape.layers().into_iter().enumerate().flat_map(layer).collect()
    }

    /// He's uniform initialization: weights within ±sqrt(6 / inputs), biases zero.
    fn init(&self, optimizer: &Optimizer, random: &mut Random) -> anyhow::Result<()> {
        for ((inputs, outputs), (weight, _)) in self.shape.layers().into_iter().zip(ids(optimizer))
        {
            let bound = (6.0 / inputs as f32).sqrt();
            let values: Vec<f32> =
                (0..inputs * outputs).map(|_| bound * random.signed_unit()).collect();
            optimizer.write_param(weight, &values)?;
        }
        Ok(())
    }

    fn order(&self, random: &mut Random) -> Vec<u32> {
        data::split(self.digits.len(), random)
    }

    fn next_round(&self, order: &mut [u32], random: &mut Random) {
        random.shuffle(&mut order[..TRAIN_LEN as usize]);
    }

    fn labels(&self) -> Labels<'_> {
        Labels { classes: CLASSES, labels: &self.digits.labels, length: 1, shift: 0 }
    }

    fn layers(&self, context: &Context<'_>) -> anyhow::Result<Layers> {
        layers::layers(self, context)
    }
}

/// The widths of a network: pixels, hidden layers, classes. All but the last are multiples of 4,
/// since the kernels load four numbers at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape(Vec<u32>);

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&widths.join("-"))
    }
}

impl Shape {
    /// (inputs, outputs) of each layer.
    fn layers(&self) -> Vec<(u32, u32)> {
        self.0.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

/// Weight and bias of each layer of an optimizer over the model's tensors.
fn ids(optimizer: &Optimizer) -> Vec<(TensorId, TensorId)> {
    let ids: Vec<TensorId> = optimizer.tensors().map(|(id, _)| id).collect();
    ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}
