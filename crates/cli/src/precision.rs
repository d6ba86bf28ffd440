//! In which formats parameters and gradients are kept, and what becomes of gradients before a rule
//! sees them: options that several commands take.

use std::{
    fmt::{Display, Formatter},
    str::FromStr,
};

use anyhow::{Result, ensure};
use fallline::{
    Dtype, DynamicScale, Gpu, Group, LossScaler, Options, Precision, StateFormat, TensorSpec,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use toml::{Table, Value};

use crate::names::one_of;

const HEADING: &str = "Precision";

/// The options, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PrecisionArgs {
    /// Format of the parameters [default: f32]
    #[arg(long, help_heading = HEADING, value_name = "FORMAT", value_parser = one_of(Dtype::ALL, Dtype::name))]
    pub(crate) param: Option<Dtype>,

    /// Format of the gradients [default: the parameters']
    #[arg(long, help_heading = HEADING, value_name = "FORMAT", value_parser = one_of(Dtype::ALL, Dtype::name))]
    pub(crate) grad: Option<Dtype>,

    /// What is kept beside each parameter of 16 bits: an f32 copy, or for bf16 the 16 bits that
    /// make it an f32, or 8 of these [default: none]
    #[arg(long, help_heading = HEADING, value_parser = one_of(Master::ALL, Master::name))]
    master: Option<Master>,

    /// Round parameters of 16 bits up or down by chance, so that small updates are not lost
    #[arg(long, help_heading = HEADING, conflicts_with = "master")]
    stochastic_rounding: bool,

    /// Format of the optimizer's state, for tensors of at least 4096 elements [default: f32]
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "FORMAT",
        value_parser = one_of(StateFormat::ALL, StateFormat::name)
    )]
    state: Option<StateFormat>,

    /// By what the loss is multiplied, and gradients are divided in f32: none, a number, dynamic, or
    /// dynamic:NUMBER to say where it begins. Steps with infinite gradients are skipped [default: none]
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "SCALE",
        value_parser = loss_scale,
        allow_negative_numbers = true
    )]
    loss_scale: Option<LossScale>,

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
        let (param, master) = (param.unwrap_or_default(), master.unwrap_or_default());
        let precision = master.precision(stochastic_rounding);
        let option = match precision {
            Precision::Stochastic => "--stochastic-rounding".to_owned(),
            _ => format!("--master {master}"),
        };
        let expected = precision.dtypes();
        let names: Vec<&str> = expected.iter().map(|dtype| dtype.name()).collect();
        ensure!(
            expected.contains(&param),
            "{option} needs --param {}, found --param {param}",
            names.join(" or ")
        );
        let grad = grad.unwrap_or(param);
        let (state, loss_scale) = (state.unwrap_or_default(), loss_scale.unwrap_or_default());
        Ok(Numerics { param, grad, precision, state, loss_scale, clip })
    }

    /// Puts what is given into the tables of a config, but for the formats of parameters and gradients.
    pub(crate) fn write_to(&self, tables: &mut Table) {
        if let Some(Value::Table(optimizer)) = tables.get_mut("optimizer") {
            let mut set = |key: &str, value: Value| drop(optimizer.insert(key.to_owned(), value));
            if let Some(master) = self.master {
                set("master", master.name().into());
                set("stochastic_rounding", false.into());
            }
            if self.stochastic_rounding {
                set("master", Master::NONE.name().into());
                set("stochastic_rounding", true.into());
            }
            if let Some(state) = self.state {
                set("state", state.name().into());
            }
        }
        if let Some(norm) = self.clip
            && let Value::Table(clip) = tables.entry("clip").or_insert(Table::new().into())
        {
            clip.insert("norm".to_owned(), norm.into());
        }
        let scale = |init: f64| ("init".to_owned(), Value::from(init));
        let fixed = ("interval".to_owned(), Value::from(0));
        let loss_scale: Table = match self.loss_scale {
            None => return,
            Some(LossScale::None) => return drop(tables.remove("loss_scale")),
            Some(LossScale::Fixed(init)) => [scale(init), fixed].into_iter().collect(),
            Some(LossScale::Dynamic { init_scale }) => [scale(init_scale)].into_iter().collect(),
        };
        tables.insert("loss_scale".to_owned(), loss_scale.into());
    }
}

/// How numbers are kept and gradients are treated. The default is f32 throughout, and nothing done to
/// gradients. As JSON: the options as they are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Numerics {
    pub(crate) param: Dtype,
    pub(crate) grad: Dtype,
    #[serde(flatten, serialize_with = "as_options")]
    pub(crate) precision: Precision,
    pub(crate) state: StateFormat,
    #[serde(serialize_with = "as_text")]
    pub(crate) loss_scale: LossScale,
    /// The norm to clip to; infinite to measure only.
    #[serde(serialize_with = "as_text_or_none")]
    pub(crate) clip: Option<f64>,
}

impl Numerics {
    /// The tensor in these formats.
    pub(crate) fn spec(&self, spec: TensorSpec) -> TensorSpec {
        spec.dtype(self.param).grad_dtype(self.grad).precision(self.precision)
    }

    /// The group with its state in this format.
    pub(crate) fn group(&self, group: Group) -> Group {
        group.state(self.state)
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
}

impl Display for Numerics {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "parameters {}", self.param)?;
        if self.param != Dtype::F32 {
            write!(f, " with {}", self.precision.in_words())?;
        }
        write!(f, ", gradients {}", self.grad)?;
        if self.state != StateFormat::F32 {
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

/// What is kept beside a parameter: the precisions that keep anything, and none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Master(Option<Precision>);

impl Master {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) const ALL: &'static [Self] = &[
        Self::NONE,
        Self(Some(Precision::Master)),
        Self(Some(Precision::Remainder)),
        Self(Some(Precision::Remainder8)),
    ];

    /// Its name in config files and on the command line.
    fn name(self) -> &'static str {
        match self.0 {
            None => "none",
            // By the format of what is kept.
            Some(Precision::Master) => "f32",
            Some(precision) => precision.name(),
        }
    }

    /// How a parameter is kept with this beside it, and rounded where there is nothing.
    pub(crate) fn precision(self, stochastic_rounding: bool) -> Precision {
        let rounding = if stochastic_rounding { Precision::Stochastic } else { Precision::Nearest };
        self.0.unwrap_or(rounding)
    }

    /// What a precision keeps.
    pub(crate) fn of(precision: Precision) -> Self {
        Self(Some(precision).filter(|precision| precision.size_bytes() > 0))
    }
}

impl Display for Master {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Master {
    type Err = fallline::Error;

    fn from_str(name: &str) -> fallline::Result<Self> {
        let known = Self::ALL.iter().copied().find(|master| master.name() == name);
        known.ok_or_else(|| fallline::Error::UnknownFormat {
            what: "a master",
            expected: Self::ALL.iter().map(|master| master.name()).collect(),
            found: name.to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Master {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
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

/// As the options that ask for it.
fn as_options<S: Serializer>(precision: &Precision, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Options {
        master: &'static str,
        stochastic_rounding: bool,
    }
    let master = Master::of(*precision).name();
    let stochastic_rounding = *precision == Precision::Stochastic;
    Options { master, stochastic_rounding }.serialize(serializer)
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
