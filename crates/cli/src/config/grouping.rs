//! How tensors come into groups: what `[optimizer]` says for all of them.

use anyhow::{Context, bail, ensure};
use fallline::{Groups, Layers, Select};
use serde::Deserialize;
use toml::{Table, Value};

use super::members::list;
use crate::table::split_off;

/// What is not decayed, layers, and what is permitted.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    no_decay: Option<Select>,
    layer_decay: Option<(f64, Layers)>,
    switches: Switches,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Switches {
    layer_decay: Option<f64>,
    first_match_wins: bool,
    permit_unused: bool,
}

impl Grouping {
    /// Takes its keys out of the table: groups do not inherit them.
    pub(super) fn split_off(table: &mut Table) -> anyhow::Result<Self> {
        let no_decay = no_decay(table)?;
        let layers = list(table, "layers", "globs")?.map(Layers::globs);
        let switches: Switches =
            split_off(table, &["layer_decay", "first_match_wins", "permit_unused"])?;
        let layer_decay = match (switches.layer_decay, layers) {
            (Some(decay), Some(layers)) => {
                ensure!(
                    decay.is_normal() && decay > 0.0,
                    "layer_decay must be finite and > 0, found {decay}"
                );
                layers.check().context("layers")?;
                Some((decay, layers))
            }
            (Some(_), None) => {
                bail!("layer_decay needs layers, globs from the input to the output")
            }
            (None, Some(_)) => bail!("layers are for layer_decay, which is missing"),
            (None, None) => None,
        };
        Ok(Self { no_decay, layer_decay, switches })
    }

    /// Groups with this for all of them.
    pub(super) fn of(self, mut groups: Groups) -> Groups {
        if let Some(select) = self.no_decay {
            groups = groups.no_decay_of(select);
        }
        if let Some((decay, layers)) = self.layer_decay {
            groups = groups.layer_decay(decay, layers);
        }
        if self.switches.first_match_wins {
            groups = groups.first_match_wins();
        }
        if self.switches.permit_unused {
            groups = groups.permit_unused();
        }
        groups
    }
}

/// `true`, or globs of tensors that are not decayed either.
fn no_decay(table: &mut Table) -> anyhow::Result<Option<Select>> {
    if let Some(Value::Boolean(on)) = table.get("no_decay") {
        let select = on.then(Select::no_decay);
        table.remove("no_decay");
        return Ok(select);
    }
    let Some(globs) = list(table, "no_decay", "globs, or true")? else { return Ok(None) };
    let others = Select::globs(globs);
    others.check().context("no_decay")?;
    Ok(Some(Select::no_decay().or(others)))
}
