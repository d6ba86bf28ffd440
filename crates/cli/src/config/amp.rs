//! Clipping, loss scaling, and how parameters of 16 bits are kept.

use anyhow::ensure;
use fallline::{Dtype, DynamicScale, Gpu, LossScaler, Precision};
use serde::Deserialize;
use toml::Table;

use crate::table::{one_line, split_off};
use crate::{around::Choice, precision::Master};

/// `[clip]`: limits to the norm of all gradients and to each of their elements.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clip {
    pub(crate) norm: Option<f64>,
    pub(crate) value: Option<f64>,
}

impl Clip {
    pub(super) fn parse(table: Table) -> anyhow::Result<Self> {
        let clip: Self = table.try_into().map_err(|error| one_line(&error))?;
        if let Some(norm) = clip.norm {
            check_norm("norm", norm)?;
        }
        if let Some(value) = clip.value {
            check("value", "finite and > 0", value, positive(value))?;
        }
        Ok(clip)
    }
}

/// Takes a group's own limit out of its table; `false` exempts it from that of all.
pub(super) fn group_norm(table: &mut Table) -> anyhow::Result<Option<f64>> {
    #[derive(Deserialize)]
    struct Own {
        clip_norm: Option<Choice<f64>>,
    }
    let Own { clip_norm } = split_off(table, &["clip_norm"])?;
    let norm = match clip_norm {
        None => return Ok(None),
        Some(Choice::Off) => f64::INFINITY,
        Some(Choice::On(norm)) => norm,
    };
    check_norm("clip_norm", norm)?;
    Ok(Some(norm))
}

/// `[loss_scale]`.
#[derive(Debug, PartialEq)]
pub(crate) enum LossScale {
    Fixed(f64),
    Dynamic(DynamicScale),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleOptions {
    init: Option<f64>,
    growth: Option<f64>,
    backoff: Option<f64>,
    interval: Option<u32>,
    min: Option<f64>,
}

impl LossScale {
    pub(super) fn parse(table: Table) -> anyhow::Result<Self> {
        let o: ScaleOptions = table.try_into().map_err(|error| one_line(&error))?;
        let d = DynamicScale::default();
        let (smallest, largest) = (2f64.powi(-126), 2f64.powi(126));
        let init = o.init.unwrap_or(d.init_scale);
        check("init", "2^-126 to 2^126", init, (smallest..=largest).contains(&init))?;
        if o.interval == Some(0) {
            for (key, value) in [("growth", o.growth), ("backoff", o.backoff), ("min", o.min)] {
                ensure!(
                    value.is_none(),
                    "{key} is for a scale that changes; interval = 0 fixes it"
                );
            }
            return Ok(Self::Fixed(init));
        }
        let rule = DynamicScale {
            init_scale: init,
            growth_factor: o.growth.unwrap_or(d.growth_factor),
            backoff_factor: o.backoff.unwrap_or(d.backoff_factor),
            growth_interval: o.interval.unwrap_or(d.growth_interval),
            min_scale: o.min.unwrap_or(d.min_scale.min(init)),
        };
        let growth = rule.growth_factor;
        check("growth", "finite and >= 1", growth, positive(growth) && growth >= 1.0)?;
        let backoff = rule.backoff_factor;
        check("backoff", "> 0 and <= 1", backoff, positive(backoff) && backoff <= 1.0)?;
        let ok = (smallest..=init).contains(&rule.min_scale);
        check("min", ">= 2^-126 and <= init", rule.min_scale, ok)?;
        Ok(Self::Dynamic(rule))
    }

    pub(super) fn scaler(&self, gpu: &Gpu) -> fallline::Result<LossScaler> {
        match self {
            Self::Fixed(scale) => LossScaler::fixed(gpu, *scale),
            Self::Dynamic(rule) => LossScaler::dynamic(gpu, *rule),
        }
    }
}

/// What `[optimizer]` alone says beside its rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) seed: Option<u32>,
}

impl Kept {
    /// Takes its keys out of the table: groups do not inherit them.
    pub(super) fn split_off(table: &mut Table) -> anyhow::Result<Self> {
        split_off(table, &["seed"])
    }
}

/// How parameters of 16 bits are kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounding {
    master: Master,
    stochastic_rounding: bool,
}

impl Rounding {
    /// Takes its keys out of a table, with the base's word where that says nothing. A group's own master is rounded to
    /// nearest, whatever the base's parameters are.
    pub(super) fn split_off(table: &mut Table, base: Self) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Own {
            master: Option<Master>,
            stochastic_rounding: Option<bool>,
        }
        let own: Own = split_off(table, &["master", "stochastic_rounding"])?;
        let has_master = own.master.is_some_and(|master| master != Master::NONE);
        let stochastic = base.stochastic_rounding && !has_master;
        let stochastic_rounding = own.stochastic_rounding.unwrap_or(stochastic);
        let inherited =
            if own.stochastic_rounding == Some(true) { Master::NONE } else { base.master };
        let master = own.master.unwrap_or(inherited);
        ensure!(
            master == Master::NONE || !stochastic_rounding,
            "stochastic_rounding needs master = \"none\": a master loses nothing by rounding"
        );
        Ok(Self { master, stochastic_rounding })
    }

    /// How a parameter of this format is kept.
    pub(super) fn precision(self, dtype: Dtype) -> Precision {
        match dtype {
            Dtype::F32 => Precision::Nearest,
            _ => self.master.precision(self.stochastic_rounding),
        }
    }
}

fn check_norm(key: &str, norm: f64) -> anyhow::Result<()> {
    check(key, "> 0", norm, norm == f64::INFINITY || positive(norm))
}

fn check(key: &str, expected: &str, found: f64, ok: bool) -> anyhow::Result<()> {
    ensure!(ok, "{key} must be {expected}, found {found}");
    Ok(())
}

/// Whether the value is finite and positive, also in the f32 that the GPU gets.
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn positive(value: f64) -> bool {
    let narrow = value as f32;
    narrow.is_finite() && narrow > 0.0
}
