//! The rule that a table of the config describes.

use anyhow::Context;
use fallline::{Adam, AdamW, Lion, Rule, Sgd};
use serde::Deserialize;
use toml::Table;

use super::one_line;
use crate::rule::RuleName;

/// The options of AdamW and Adam.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdamOptions {
    lr: Option<f64>,
    betas: Option<(f64, f64)>,
    eps: Option<f64>,
    weight_decay: Option<f64>,
    amsgrad: Option<bool>,
    maximize: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SgdOptions {
    lr: Option<f64>,
    momentum: Option<f64>,
    dampening: Option<f64>,
    weight_decay: Option<f64>,
    nesterov: Option<bool>,
    maximize: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LionOptions {
    lr: Option<f64>,
    betas: Option<(f64, f64)>,
    weight_decay: Option<f64>,
    maximize: Option<bool>,
}

/// The rule that a table describes, with torch's defaults for what it does not say.
pub(super) fn parse(mut table: Table) -> anyhow::Result<Rule> {
    let name = table.remove("rule").context("the key 'rule' is missing")?;
    let name = RuleName::deserialize(name).map_err(|error| one_line(&error))?;
    Ok(match name {
        RuleName::Adamw => {
            let (o, d): (AdamOptions, _) = (options(table, name)?, AdamW::default());
            AdamW {
                lr: o.lr.unwrap_or(d.lr),
                betas: o.betas.unwrap_or(d.betas),
                eps: o.eps.unwrap_or(d.eps),
                weight_decay: o.weight_decay.unwrap_or(d.weight_decay),
                amsgrad: o.amsgrad.unwrap_or(d.amsgrad),
                maximize: o.maximize.unwrap_or(d.maximize),
            }
            .into()
        }
        RuleName::Adam => {
            let (o, d): (AdamOptions, _) = (options(table, name)?, Adam::default());
            Adam {
                lr: o.lr.unwrap_or(d.lr),
                betas: o.betas.unwrap_or(d.betas),
                eps: o.eps.unwrap_or(d.eps),
                weight_decay: o.weight_decay.unwrap_or(d.weight_decay),
                amsgrad: o.amsgrad.unwrap_or(d.amsgrad),
                maximize: o.maximize.unwrap_or(d.maximize),
            }
            .into()
        }
        RuleName::Sgd => {
            let (o, d): (SgdOptions, _) = (options(table, name)?, Sgd::default());
            Sgd {
                lr: o.lr.unwrap_or(d.lr),
                momentum: o.momentum.unwrap_or(d.momentum),
                dampening: o.dampening.unwrap_or(d.dampening),
                weight_decay: o.weight_decay.unwrap_or(d.weight_decay),
                nesterov: o.nesterov.unwrap_or(d.nesterov),
                maximize: o.maximize.unwrap_or(d.maximize),
            }
            .into()
        }
        RuleName::Lion => {
            let (o, d): (LionOptions, _) = (options(table, name)?, Lion::default());
            Lion {
                lr: o.lr.unwrap_or(d.lr),
                betas: o.betas.unwrap_or(d.betas),
                weight_decay: o.weight_decay.unwrap_or(d.weight_decay),
                maximize: o.maximize.unwrap_or(d.maximize),
            }
            .into()
        }
    })
}

fn options<T: for<'a> Deserialize<'a>>(table: Table, rule: RuleName) -> anyhow::Result<T> {
    table.try_into().map_err(|error| one_line(&error)).with_context(|| format!("rule '{rule}'"))
}
