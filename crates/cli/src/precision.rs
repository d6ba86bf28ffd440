//! In which formats parameters and gradients are kept, and what becomes of gradients before a rule
//! sees them: options that several commands take.

use std::fmt::{Display, Formatter};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use fallline::{
    Dtype, DynamicScale, Gpu, Group, LossScaler, Options, Precision, StateFormat, TensorSpec,
};
use serde::Serializer;

const HEADING: &str = "Precision";

/// The options, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PrecisionArgs {
    /// Format of the parameters
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "FORMAT",
        value_enum,
        default_value_t = Format::F32
    )]
    param: Format,

    /// Format of the gradients [default: the parameters']
    #[arg(long, help_heading = HEADING, value_name = "FORMAT", value_enum)]
    grad: Option<Format>,

    /// What is kept beside each parameter of 16 bits: an f32 copy, or for bf16 the 16 bits that
    /// make it an f32, or 8 of these
    #[arg(long, help_heading = HEADING, value_enum, default_value_t = Master::None)]
    master: Master,

    /// Round parameters of 16 bits up or down by chance, so that small updates are not lost
    #[arg(long, help_heading = HEADING, conflicts_with = "master")]
    stochastic_rounding: bool,

    /// Format of the optimizer's state, for tensors of at least 4096 elements
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "FORMAT",
        value_enum,
        default_value_t = State::F32
    )]
    state: State,

    /// By what the loss is multiplied, and gradients are divided in f32: none, a number, dynamic, or
    /// dynamic:NUMBER to say where it begins. Steps with infinite gradients are skipped
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "SCALE",
        default_value_t = LossScale::None,
        value_parser = loss_scale,
        allow_negative_numbers = true
    )]
    loss_scale: LossScale,

    /// Clip the gradients of all tensors to a common norm; inf measures the norm and changes nothing
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "NORM",
        value_parser = clip,
        allow_negative_numbers = true
    )]
    clip: Option<f64>,
}

impl PrecisionArgs {
    /// The options, if they go together.
    pub(crate) fn numerics(&self) -> Result<Numerics> {
        let Self { param, grad, master, stochastic_rounding, state, loss_scale, clip } = *self;
        match master {
            Master::None => {}
            Master::F32 => ensure!(
                param != Format::F32,
                "--master f32 needs --param f16 or bf16, found --param f32"
            ),
            Master::Remainder | Master::Remainder8 => ensure!(
                param == Format::Bf16,
                "--master {master} needs --param bf16, found --param {param}"
            ),
        }
        ensure!(
            !stochastic_rounding || param != Format::F32,
            "--stochastic-rounding needs --param f16 or bf16, found --param f32"
        );
        let grad = grad.unwrap_or(param);
        Ok(Numerics { param, grad, master, stochastic_rounding, state, loss_scale, clip })
    }
}

/// How numbers are kept and gradients are treated. The default is f32 throughout, and nothing done to
/// gradients. As JSON: the options as they are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Numerics {
    #[serde(serialize_with = "as_text")]
    pub(crate) param: Format,
    #[serde(serialize_with = "as_text")]
    pub(crate) grad: Format,
    #[serde(serialize_with = "as_text")]
    pub(crate) master: Master,
    pub(crate) stochastic_rounding: bool,
    #[serde(serialize_with = "as_text")]
    pub(crate) state: State,
    #[serde(serialize_with = "as_text")]
    pub(crate) loss_scale: LossScale,
    /// The norm to clip to; infinite to measure only.
    #[serde(serialize_with = "as_text_or_none")]
    pub(crate) clip: Option<f64>,
}

impl Numerics {
    /// The tensor in these formats.
    pub(crate) fn spec(&self, spec: TensorSpec) -> TensorSpec {
        let precision = self.precision();
        spec.dtype(self.param.into()).grad_dtype(self.grad.into()).precision(precision)
    }

    /// The group with its state in this format.
    pub(crate) fn group(&self, group: Group) -> Group {
        group.state(self.state.into())
    }

    /// The options of an optimizer, with a loss scaler of its own. `seed` is that of the rounding.
    pub(crate) fn options(&self, gpu: &Gpu, seed: u32) -> Result<Options> {
        let loss_scaler = match self.loss_scale {
            LossScale::None => None,
            LossScale::Fixed(scale) => Some(LossScaler::fixed(gpu, scale)?),
            LossScale::Dynamic { init_scale } => {
                let rule = DynamicScale::default();
                let min_scale = rule.min_scale.min(init_scale);
                Some(LossScaler::dynamic(gpu, DynamicScale { init_scale, min_scale, ..rule })?)
            }
        };
        Ok(Options { max_norm: self.clip, loss_scaler, seed, ..Options::default() })
    }

    /// Whether the loss is scaled, and steps with infinite gradients are skipped.
    pub(crate) fn scales(&self) -> bool {
        self.loss_scale != LossScale::None
    }

    fn precision(&self) -> Precision {
        match self.master {
            Master::None if self.stochastic_rounding => Precision::Stochastic,
            Master::None => Precision::Nearest,
            Master::F32 => Precision::Master,
            Master::Remainder => Precision::Remainder,
            Master::Remainder8 => Precision::Remainder8,
        }
    }
}

impl Display for Numerics {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "parameters {}", self.param)?;
        if self.param != Format::F32 {
            write!(f, " with {}", self.precision())?;
        }
        write!(f, ", gradients {}", self.grad)?;
        if self.state != State::F32 {
            write!(f, ", state {}", self.state)?;
        }
        if self.scales() {
            write!(f, ", loss scale {}", self.loss_scale)?;
        }
        match self.clip {
            None => Ok(()),
            Some(f64::INFINITY) => f.write_str(", norm measured"),
            Some(norm) => write!(f, ", clipped to norm {}", number(norm)),
        }
    }
}

/// A format of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    F32,
    F16,
    Bf16,
}

impl From<Format> for Dtype {
    fn from(format: Format) -> Self {
        match format {
            Format::F32 => Dtype::F32,
            Format::F16 => Dtype::F16,
            Format::Bf16 => Dtype::Bf16,
        }
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Dtype::from(*self).fmt(f)
    }
}

/// A format of optimizer state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    #[default]
    F32,
    Bf16,
    Int8,
    Int4,
    Fp8,
    Companded,
}

impl State {
    /// Bytes of an element in one slot, of a large tensor.
    pub(crate) fn size_bytes(self) -> f64 {
        StateFormat::from(self).size_bytes(256) as f64 / 256.0
    }
}

impl From<State> for StateFormat {
    fn from(state: State) -> Self {
        match state {
            State::F32 => StateFormat::F32,
            State::Bf16 => StateFormat::Bf16,
            State::Int8 => StateFormat::Int8,
            State::Int4 => StateFormat::Int4,
            State::Fp8 => StateFormat::Fp8,
            State::Companded => StateFormat::Companded,
        }
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        StateFormat::from(*self).fmt(f)
    }
}

/// What is kept beside a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Master {
    #[default]
    None,
    F32,
    Remainder,
    Remainder8,
}

impl Display for Master {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Master::None => "none",
            Master::F32 => "f32",
            Master::Remainder => "remainder",
            Master::Remainder8 => "remainder8",
        })
    }
}

/// By what the loss is multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum LossScale {
    #[default]
    None,
    Fixed(f64),
    Dynamic {
        init_scale: f64,
    },
}

impl Display for LossScale {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match *self {
            LossScale::None => f.write_str("none"),
            LossScale::Fixed(scale) => f.write_str(&number(scale)),
            LossScale::Dynamic { init_scale } if init_scale == default_scale() => {
                f.write_str("dynamic")
            }
            LossScale::Dynamic { init_scale } => write!(f, "dynamic:{}", number(init_scale)),
        }
    }
}

/// A positive number, never with a row of zeros.
fn number(value: f64) -> String {
    if (1e-4..1e10).contains(&value) { format!("{value}") } else { format!("{value:e}") }
}

fn default_scale() -> f64 {
    DynamicScale::default().init_scale
}

fn loss_scale(text: &str) -> Result<LossScale, String> {
    // The engine's range: from the smallest normal number of f32 to its reciprocal.
    let smallest = f64::from(f32::MIN_POSITIVE);
    let parse = |text: &str| match text.parse() {
        Ok(scale) if (smallest..=1.0 / smallest).contains(&scale) => Ok(scale),
        _ => Err("must be none, dynamic, dynamic:NUMBER or a NUMBER, from 2^-126 to 2^126"),
    };
    match (text, text.strip_prefix("dynamic:")) {
        ("none", _) => Ok(LossScale::None),
        ("dynamic", _) => Ok(LossScale::Dynamic { init_scale: default_scale() }),
        (_, Some(text)) => Ok(LossScale::Dynamic { init_scale: parse(text)? }),
        (text, None) => Ok(LossScale::Fixed(parse(text)?)),
    }
}

fn clip(text: &str) -> Result<f64, String> {
    // What the kernels take: they have it as f32.
    let finite = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
    match text.parse() {
        Ok(norm) if norm == f64::INFINITY || finite.contains(&norm) => Ok(norm),
        _ => Err("must be a positive number that f32 can hold, or inf".into()),
    }
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_text_or_none<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        None => serializer.serialize_str("none"),
        Some(value) => serializer.collect_str(value),
    }
}

#[cfg(test)]
mod tests;
