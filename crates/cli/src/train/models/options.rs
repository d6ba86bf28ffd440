//! Which model is trained, how large it is and how long it is trained: options of `fallline train`.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use toml::Value;

use super::{
    Model,
    gpt::{Config, Course, Gpt},
    perceptron::Perceptron,
};

const PERCEPTRON: &str = "Perceptron";
const GPT: &str = "GPT";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::train) enum ModelName {
    /// A multilayer perceptron, on 1,797 handwritten digits
    #[default]
    Perceptron,
    /// A character-level GPT, on Shakespeare
    Gpt,
}

/// The options, for `#[command(flatten)]`, and keys of a config.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default)]
pub(in crate::train) struct ModelArgs {
    /// What to train [default: perceptron]
    #[arg(long, value_enum)]
    model: Option<ModelName>,

    /// Images or sequences in a batch; `all` for one batch of all images, which rprop needs [default: 32, gpt: 12]
    #[arg(long, visible_alias = "batch", value_name = "N")]
    #[serde(alias = "batch", deserialize_with = "number_or_text")]
    batch_size: Option<String>,

    /// How often every image is seen [default: 30]
    #[arg(long, help_heading = PERCEPTRON, value_name = "N")]
    epochs: Option<u32>,

    /// Width of each of the two hidden layers, a multiple of 4 [default: 128]
    #[arg(long, help_heading = PERCEPTRON, value_name = "N")]
    hidden: Option<u32>,

    /// Steps of the run [default: 600]
    #[arg(long, help_heading = GPT, value_name = "N")]
    steps: Option<u32>,

    /// Steps from one test to the next [default: 100]
    #[arg(long, help_heading = GPT, value_name = "N")]
    eval_interval: Option<u32>,

    /// Blocks of attention and perceptron [default: 4]
    #[arg(long, help_heading = GPT, value_name = "N")]
    n_layer: Option<u32>,

    /// Heads of attention [default: 4]
    #[arg(long, help_heading = GPT, value_name = "N")]
    n_head: Option<u32>,

    /// Width of the blocks, a multiple of 4 for each head [default: 64]
    #[arg(long, help_heading = GPT, value_name = "N")]
    n_embd: Option<u32>,

    /// Characters that the model sees at most, a multiple of 4 [default: 64]
    #[arg(long, help_heading = GPT, value_name = "N")]
    block_size: Option<u32>,

    /// Characters that it writes in the end [default: 400]
    #[arg(long, help_heading = GPT, value_name = "N")]
    sample: Option<u32>,

    /// How boldly it chooses them: logits are divided by this [default: 0.8]
    #[arg(long, help_heading = GPT, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
}

impl ModelArgs {
    /// Its keys in a config.
    pub(in crate::train) const KEYS: [&str; 13] = [
        "model",
        "batch_size",
        "batch",
        "epochs",
        "hidden",
        "steps",
        "eval_interval",
        "n_layer",
        "n_head",
        "n_embd",
        "block_size",
        "sample",
        "temperature",
    ];

    /// With another's word where it says nothing itself.
    pub(in crate::train) fn or(self, other: Self) -> Self {
        Self {
            model: self.model.or(other.model),
            batch_size: self.batch_size.or(other.batch_size),
            epochs: self.epochs.or(other.epochs),
            hidden: self.hidden.or(other.hidden),
            steps: self.steps.or(other.steps),
            eval_interval: self.eval_interval.or(other.eval_interval),
            n_layer: self.n_layer.or(other.n_layer),
            n_head: self.n_head.or(other.n_head),
            n_embd: self.n_embd.or(other.n_embd),
            block_size: self.block_size.or(other.block_size),
            sample: self.sample.or(other.sample),
            temperature: self.temperature.or(other.temperature),
        }
    }

    /// Which model it is.
    pub(in crate::train) fn name(&self) -> ModelName {
        self.model.unwrap_or_default()
    }

    pub(in crate::train) fn build(&self) -> Result<Box<dyn Model>> {
        let perceptron = [("--epochs", self.epochs.is_some()), ("--hidden", self.hidden.is_some())];
        let gpt = [
            ("--steps", self.steps.is_some()),
            ("--eval-interval", self.eval_interval.is_some()),
            ("--n-layer", self.n_layer.is_some()),
            ("--n-head", self.n_head.is_some()),
            ("--n-embd", self.n_embd.is_some()),
            ("--block-size", self.block_size.is_some()),
            ("--sample", self.sample.is_some()),
            ("--temperature", self.temperature.is_some()),
        ];
        let (other, others): (&str, &[_]) = match self.name() {
            ModelName::Perceptron => ("gpt", &gpt),
            ModelName::Gpt => ("perceptron", &perceptron),
        };
        if let Some((option, _)) = others.iter().find(|(_, is_given)| *is_given) {
            bail!("{option} is an option of --model {other}");
        }
        match self.name() {
            ModelName::Perceptron => {
                let (epochs, hidden) = (self.epochs.unwrap_or(30), self.hidden.unwrap_or(128));
                let batch_size = self.batch_size.as_deref().unwrap_or("32");
                Ok(Box::new(Perceptron::new(epochs, batch_size, hidden)?))
            }
            ModelName::Gpt => Ok(Box::new(Gpt::new(self.config(), self.course()?)?)),
        }
    }

    fn config(&self) -> Config {
        let Config { n_layer, n_head, n_embd, block_size } = Config::default();
        Config {
            n_layer: self.n_layer.unwrap_or(n_layer),
            n_head: self.n_head.unwrap_or(n_head),
            n_embd: self.n_embd.unwrap_or(n_embd),
            block_size: self.block_size.unwrap_or(block_size),
        }
    }

    fn course(&self) -> Result<Course> {
        let Course { steps, eval_interval, batch_size, sample, temperature } = Course::default();
        let batch_size = match &self.batch_size {
            None => batch_size,
            Some(number) => number.parse().with_context(|| {
                format!("--batch-size must be a number for --model gpt, found {number}")
            })?,
        };
        Ok(Course {
            steps: self.steps.unwrap_or(steps),
            eval_interval: self.eval_interval.unwrap_or(eval_interval),
            batch_size,
            sample: self.sample.unwrap_or(sample),
            temperature: self.temperature.unwrap_or(temperature),
        })
    }
}

/// A number of images, or `all`.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Integer(number) => Ok(Some(number.to_string())),
        Value::String(text) => Ok(Some(text)),
        other => Err(D::Error::custom(format!("expected a number, or \"all\", found {other}"))),
    }
}
