//! A character-level GPT that writes Shakespeare, or tries to.
//!
//! GPT-2's architecture (Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019) with nanoGPT's
//! names and initialization. Its head is not tied to the embedding: with 65 characters that would save nothing, and so
//! each gradient is written by one kernel, once.
//!
//! | module     | what it holds                                                      |
//! |------------|--------------------------------------------------------------------|
//! | `text`     | the text, and its characters as tokens                             |
//! | `layers`   | forward and backward through all blocks                            |
//! | `kernels`  | the operations that these are made of                              |
//! | `sample`   | text that the model writes                                         |
//! | `gradient` | the kernels against a computation on the CPU                       |

#[cfg(test)]
mod gradient;
mod kernels;
mod layers;
mod sample;
mod text;

use anyhow::ensure;
use fallline::{Optimizer, TensorSpec};

use self::text::{Text, count};
use super::{
    At, Context, GROUPS, Goal, Layers, Model, Plan,
    examples::{Labels, Places},
};
use crate::{rule::RuleName, train::random::Random};

/// Batches to test with.
const TEST_BATCHES: u32 = 8;

/// Widest block: its weights then fit every device's smallest binding.
const MAX_EMBD: u32 = 1024;
/// Longest context.
const MAX_BLOCK_SIZE: u32 = 1024;
/// Most batches that kernels are told of at once.
const MAX_EVAL_INTERVAL: u32 = 1000;
/// With so many sequences and no more, all rows fit a grid.
const MAX_BATCH_SIZE: u32 = 64;

/// Numbers in f32 that every device can bind: 128 MiB.
const MAX_ELEMS: u64 = 1 << 25;

/// The size of a model, by nanoGPT's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) n_layer: u32,
    pub(super) n_head: u32,
    pub(super) n_embd: u32,
    pub(super) block_size: u32,
}

/// That of nanoGPT's example for a computer without a GPU, at half the width: so it is trained in minutes where the
/// GPU is software.
impl Default for Config {
    fn default() -> Self {
        Self { n_layer: 4, n_head: 4, n_embd: 64, block_size: 64 }
    }
}

/// How long a model is trained, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Course {
    pub(super) steps: u32,
    pub(super) eval_interval: u32,
    pub(super) batch_size: u32,
    /// Characters of the text that it writes in the end.
    pub(super) sample: u32,
    pub(super) temperature: f64,
}

impl Default for Course {
    fn default() -> Self {
        Self { steps: 600, eval_interval: 100, batch_size: 12, sample: 400, temperature: 0.8 }
    }
}

/// A GPT, and how it is trained.
#[derive(Clone, Debug)]
pub(super) struct Gpt {
    config: Config,
    course: Course,
    text: Text,
}

impl Gpt {
    pub(super) fn new(config: Config, course: Course) -> anyhow::Result<Self> {
        let Config { n_layer, n_head, n_embd, block_size } = config;
        let Course { steps, eval_interval, batch_size, temperature, .. } = course;
        for (option, found, most) in [
            ("--steps", steps, u32::MAX),
            ("--eval-interval", eval_interval, MAX_EVAL_INTERVAL),
            ("--batch-size", batch_size, MAX_BATCH_SIZE),
            ("--n-layer", n_layer, 64),
            ("--n-head", n_head, 64),
        ] {
            let fits = (1..=most).contains(&found);
            ensure!(fits, "{option} must be 1 to {most} for --model gpt, found {found}");
        }
        ensure!(
            (4 * n_head..=MAX_EMBD).contains(&n_embd) && n_embd.is_multiple_of(4 * n_head),
            "--n-embd must be a multiple of {} (4 for each head) up to {MAX_EMBD}, found {n_embd}",
            4 * n_head
        );
        ensure!(
            (4..=MAX_BLOCK_SIZE).contains(&block_size) && block_size.is_multiple_of(4),
            "--block-size must be a multiple of 4 from 4 to {MAX_BLOCK_SIZE}, found {block_size}"
        );
        let [interval, batch, heads, width, length] =
            [eval_interval, batch_size, n_head, n_embd, block_size].map(u64::from);
        for (options, elems) in [
            ("--batch-size, --block-size and --n-embd", 4 * batch * length * width),
            ("--batch-size, --block-size and --n-head", batch * length * length * heads),
            (
                "--batch-size, --block-size and --eval-interval",
                batch * length * (interval + u64::from(TEST_BATCHES)),
            ),
        ] {
            ensure!(
                elems <= MAX_ELEMS,
                "{options} make a buffer of {elems} numbers, more than a binding's {MAX_ELEMS}"
            );
        }
        ensure!(
            temperature > 0.0 && temperature.is_finite(),
            "--temperature must be finite and > 0, found {temperature:?}"
        );
        Ok(Self { config, course, text: Text::shakespeare() })
    }

    /// Names and shapes of all parameters, and how far the initial values spread.
    fn params(&self) -> Vec<(String, Vec<usize>, Init)> {
        let Config { n_layer, n_embd, block_size, .. } = self.config;
        let [classes, width, length] =
            [self.text.classes(), n_embd, block_size].map(|size| size as usize);
        let mut params = vec![
            ("wte.weight".to_owned(), vec![classes, width], Init::NORMAL),
            ("wpe.weight".to_owned(), vec![length, width], Init::NORMAL),
        ];
        // Each block adds to the residual stream twice: as GPT-2 does, what it adds begins the smaller the
        // more blocks there are.
        let residual = Init::Normal(0.02 / f64::from(2 * n_layer).sqrt());
        let norm = |params: &mut Vec<_>, name: String| {
            params.push((format!("{name}.weight"), vec![width], Init::Constant(1.0)));
            params.push((format!("{name}.bias"), vec![width], Init::Constant(0.0)));
        };
        let linear = |params: &mut Vec<_>, name: String, shape: [usize; 2], init| {
            params.push((format!("{name}.weight"), shape.to_vec(), init));
            params.push((format!("{name}.bias"), vec![shape[0]], Init::Constant(0.0)));
        };
        for block in 0..n_layer {
            let name = |part: &str| format!("h.{block}.{part}");
            norm(&mut params, name("ln_1"));
            linear(&mut params, name("attn.c_attn"), [3 * width, width], Init::NORMAL);
            linear(&mut params, name("attn.c_proj"), [width, width], residual);
            norm(&mut params, name("ln_2"));
            linear(&mut params, name("mlp.c_fc"), [4 * width, width], Init::NORMAL);
            linear(&mut params, name("mlp.c_proj"), [width, 4 * width], residual);
        }
        norm(&mut params, "ln_f".to_owned());
        params.push(("lm_head.weight".to_owned(), vec![classes, width], Init::NORMAL));
        params
    }
}

/// What a tensor begins as.
#[derive(Clone, Copy, Debug)]
enum Init {
    Constant(f32),
    /// Normal with this standard deviation.
    Normal(f64),
}

impl Init {
    const NORMAL: Self = Self::Normal(0.02);
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn narrow(value: f64) -> f32 {
    value as f32
}

impl Model for Gpt {
    fn title(&self) -> String {
        let Config { n_layer, n_head, n_embd, block_size } = self.config;
        let elems = |(_, shape, _): &(String, Vec<usize>, Init)| shape.iter().product::<usize>();
        let params: usize = self.params().iter().map(elems).sum();
        format!(
            "GPT of {n_layer} layers, {n_head} heads, width {n_embd}, context {block_size}, {params} parameters"
        )
    }

    fn data(&self) -> String {
        let (train, all) = (self.text.train_len(), self.text.len());
        format!("{train} characters to train with, {} to test with", all - train)
    }

    fn caption(&self) -> String {
        let Config { n_layer, n_head, n_embd, block_size } = self.config;
        format!(
            "Shakespeare by characters, GPT of {n_layer} layers, {n_head} heads, width {n_embd}, batches of {} x {block_size}",
            self.course.batch_size
        )
    }

    fn goal(&self) -> Goal {
        Goal::Bits
    }

    fn plan(&self) -> Plan {
        let Course { steps, eval_interval, .. } = self.course;
        // nanoGPT's hundred steps, of a short run a tenth.
        Plan {
            steps,
            steps_per_round: eval_interval.min(steps),
            warmup_steps: (steps / 10).min(100),
        }
    }

    fn at(&self, steps: u32) -> At {
        At::Step(steps)
    }

    fn places(&self) -> Places {
        let Course { batch_size, .. } = self.course;
        let train = self.plan().steps_per_round * batch_size;
        Places::new(train, TEST_BATCHES * batch_size, batch_size)
    }

    fn default_lr(&self, rule: RuleName) -> f64 {
        match rule.as_str() {
            "adamw" | "adam" => 6e-3,
            "sgd" => 0.1,
            "lion" => 3e-4,
            _ => rule.rule().lr(),
        }
    }

    fn default_clip(&self) -> Option<f64> {
        Some(1.0)
    }

    /// As minGPT has it, weight decay is for the weights of linear layers alone.
    fn tensors(&self) -> Vec<TensorSpec> {
        let spec = |(name, shape, _): (String, Vec<usize>, Init)| {
            let decays = shape.len() > 1 && !name.starts_with('w');
            TensorSpec::new(name, shape).in_group(GROUPS[usize::from(!decays)])
        };
        self.params().into_iter().map(spec).collect()
    }

    fn init(&self, optimizer: &Optimizer, random: &mut Random) -> anyhow::Result<()> {
        for ((id, _), (_, shape, init)) in optimizer.tensors().zip(self.params()) {
            let len = shape.iter().product();
            let values: Vec<f32> = match init {
                Init::Constant(value) => vec![value; len],
                Init::Normal(deviation) => {
                    (0..len).map(|_| narrow(deviation * random.normal())).collect()
                }
            };
            optimizer.write_param(id, &values)?;
        }
        Ok(())
    }

    /// Where the sequences to test with begin: evenly over their part of the text.
    fn order(&self, _: &mut Random) -> Vec<u32> {
        let places = self.places();
        let test = Places::span(&places.test);
        let begin = self.text.train_len();
        // A sequence and the label of its last character.
        let room = self.text.len() - begin - self.config.block_size - 1;
        let start = |n: u32| begin + room * n / test.rows;
        vec![0; test.start as usize].into_iter().chain((0..test.rows).map(start)).collect()
    }

    /// Draws where each sequence begins.
    fn next_round(&self, order: &mut [u32], random: &mut Random) {
        // Each with the label of its last character.
        let begins = self.text.train_len() - self.config.block_size;
        let train = Places::span(&self.places().train).rows;
        for start in &mut order[..train as usize] {
            *start = count(random.below(begins as usize));
        }
    }

    /// The character after each one of a sequence.
    fn labels(&self) -> Labels<'_> {
        let Config { block_size, .. } = self.config;
        Labels {
            classes: self.text.classes(),
            labels: &self.text.tokens,
            length: block_size,
            shift: 1,
        }
    }

    fn layers(&self, context: &Context<'_>) -> anyhow::Result<Layers> {
        layers::layers(self, context)
    }

    fn sample(&self, optimizer: &Optimizer, random: &mut Random) -> anyhow::Result<Option<String>> {
        if self.course.sample == 0 {
            return Ok(None);
        }
        Ok(Some(sample::sample(self, optimizer, random)?))
    }
}
