//! What can be trained: models, each with its data.
//!
//! | module       | what it holds                                                        |
//! |--------------|----------------------------------------------------------------------|
//! | `perceptron` | handwritten digits                                                   |
//! | `gpt`        | characters of a text                                                 |
//! | `options`    | which one, and how long it is trained                                |
//! | `network`    | a model bound to an optimizer: a batch through it, its loss          |
//! | `examples`   | what it learns from, in batches, on the GPU                          |
//! | `tally`      | the sums that a round ends with                                      |
//! | `kernel`     | the batch that a kernel is told, and its bindings                    |
//! | `codec`      | formats of parameters and gradients in the kernels                   |

mod codec;
mod examples;
mod gpt;
mod kernel;
mod network;
mod options;
mod perceptron;
mod tally;

#[cfg(test)]
pub(super) use self::perceptron::Perceptron;
pub(super) use self::{
    kernel::encoder,
    network::Network,
    options::{ModelArgs, ModelName},
    tally::{Score, Scores},
};

use std::{f64::consts::LN_2, ops::Range};

use anyhow::Context as _;
use fallline::{Dtype, Gpu, Optimizer, TensorId, TensorSpec, wgpu};
use wgpu::Buffer;

use self::{
    examples::{Examples, Labels, Places},
    kernel::{Binding, Kernel, read, write},
};
use super::random::Random;
use crate::rule::RuleName;

/// Groups of the optimizer: tensors that weight decay is for, and those that it is not for.
pub(super) const GROUPS: [&str; 2] = ["decay", "no_decay"];

/// Where a point of a curve lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum At {
    Epoch(u32),
    Step(u32),
}

impl At {
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Epoch(_) => "epoch",
            Self::Step(_) => "step",
        }
    }

    pub(super) const fn count(self) -> u32 {
        match self {
            Self::Epoch(count) | Self::Step(count) => count,
        }
    }
}

/// What tells how good a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// The part of the examples that it classifies rightly, in percent.
    Accuracy,
    /// Its loss for each character, in bits.
    Bits,
}

impl Goal {
    pub(super) fn of(self, score: Score) -> f64 {
        match self {
            Self::Accuracy => 100.0 * score.accuracy,
            Self::Bits => score.loss / LN_2,
        }
    }

    /// The same in words.
    pub(super) fn in_words(self, score: Score) -> String {
        let value = self.of(score);
        match self {
            Self::Accuracy => format!("{value:.2} %"),
            Self::Bits => format!("{value:.3} bits"),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "test accuracy",
            Self::Bits => "per character of the test",
        }
    }
}

/// How many steps a run takes, and after how many of them, a round, the model is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: u32,
    pub(super) steps_per_round: u32,
    /// How many steps the learning rate rises for in the beginning.
    pub(super) warmup_steps: u32,
}

impl Plan {
    /// The steps of each round; of the last there may be fewer.
    pub(super) fn rounds(self) -> impl Iterator<Item = Range<u32>> {
        let end = move |first: u32| self.steps.min(first.saturating_add(self.steps_per_round));
        (0..self.steps).step_by(self.steps_per_round as usize).map(move |first| first..end(first))
    }
}

/// A model with its data.
pub(super) trait Model {
    /// Which one, and its size.
    fn title(&self) -> String;

    /// What it learns from and is tested with.
    fn data(&self) -> String;

    /// Both, as a picture says it.
    fn caption(&self) -> String;

    fn goal(&self) -> Goal;

    fn plan(&self) -> Plan;

    /// Where a run is after so many steps.
    fn at(&self, steps: u32) -> At;

    /// The batches of a round.
    fn places(&self) -> Places;

    /// The learning rate that the rule likes here.
    fn default_lr(&self, rule: RuleName) -> f64;

    /// The norm that gradients are clipped to if nothing else is asked for.
    fn default_clip(&self) -> Option<f64> {
        None
    }

    /// Its parameters, each in one of the [`GROUPS`], in f32.
    fn tensors(&self) -> Vec<TensorSpec>;

    /// Writes the initial parameters.
    fn init(&self, optimizer: &Optimizer, random: &mut Random) -> anyhow::Result<()>;

    /// An example for each place.
    fn order(&self, random: &mut Random) -> Vec<u32>;

    /// Puts the examples that the next round trains with into their places.
    fn next_round(&self, order: &mut [u32], random: &mut Random);

    fn labels(&self) -> Labels<'_>;

    /// Its kernels, for an optimizer over its tensors, all of the same formats.
    fn layers(&self, context: &Context<'_>) -> anyhow::Result<Layers>;

    /// What it writes by itself, with the optimizer's parameters; if it is one that writes.
    fn sample(&self, _: &Optimizer, _: &mut Random) -> anyhow::Result<Option<String>> {
        Ok(None)
    }
}

/// A model's way from the examples of a batch to the logits, and from the gradient of these to those of
/// the parameters.
#[derive(Debug)]
pub(super) struct Layers {
    forward: Vec<Kernel>,
    backward: Vec<Kernel>,
    /// A row for each of a batch, of a number for each class.
    logits: Buffer,
    logits_grad: Buffer,
    /// From one row to the next.
    stride: u32,
}

/// What a model's kernels are made with.
#[derive(Debug)]
pub(super) struct Context<'a> {
    gpu: &'a Gpu,
    optimizer: &'a Optimizer,
    examples: &'a Examples,
    /// The formats of all parameters and of all gradients.
    param: Dtype,
    grad: Dtype,
}

impl<'a> Context<'a> {
    fn new(optimizer: &'a Optimizer, examples: &'a Examples) -> anyhow::Result<Self> {
        let (_, spec) = optimizer.tensors().next().context("a model has parameters")?;
        let (gpu, param, grad) = (optimizer.gpu(), spec.dtype, spec.grad_dtype);
        Ok(Self { gpu, optimizer, examples, param, grad })
    }

    fn param(&self, id: TensorId) -> anyhow::Result<Binding<'_>> {
        Ok(read(codec::whole_words(self.optimizer.param(id)?, self.param)))
    }

    fn grad(&self, id: TensorId) -> anyhow::Result<Binding<'_>> {
        Ok(write(codec::whole_words(self.optimizer.grad(id)?, self.grad)))
    }
}
