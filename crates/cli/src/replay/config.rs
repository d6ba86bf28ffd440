//! The optimizer and its groups, from TOML, under torch's names.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, bail, ensure};
use fallline::{Adam, AdamW, Group, Lion, Rule, Sgd, TensorSpec};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use toml::Table;

use crate::rule::RuleName;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    optimizer: Table,
    #[serde(default)]
    group: Vec<Table>,
}

/// The groups: the base first, then one for each `[[group]]`.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) groups: Vec<Group>,
    globs: Vec<GlobSet>,
}

impl Config {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", place()))?;
        Self::parse(&text).with_context(place)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| one_line(&error))?;
        let base = file.optimizer;
        ensure!(base.contains_key("rule"), "[optimizer] must name its rule");
        let rule = parse_rule(base.clone()).context("[optimizer]")?;
        let mut groups = vec![Group::new("optimizer", rule)];
        let mut globs = Vec::new();
        for (index, table) in file.group.into_iter().enumerate() {
            let name = format!("[[group]] number {}", index + 1);
            let (rule, glob) = parse_group(&base, table).with_context(|| name.clone())?;
            groups.push(Group::new(name, rule));
            globs.push(glob);
        }
        Ok(Self { groups, globs })
    }

    /// The base rule's name.
    pub(crate) fn rule_name(&self) -> &'static str {
        self.groups[0].rule.name()
    }

    /// Puts every tensor into the group whose globs match it.
    pub(crate) fn assign(
        &self,
        specs: impl Iterator<Item = TensorSpec>,
    ) -> anyhow::Result<Vec<TensorSpec>> {
        let mut used: HashSet<usize> = HashSet::new();
        let mut assigned = Vec::new();
        for spec in specs {
            let matching: Vec<usize> =
                (0..self.globs.len()).filter(|&i| self.globs[i].is_match(&spec.name)).collect();
            used.extend(&matching);
            assigned.push(match matching.as_slice() {
                [] => spec,
                [one] => spec.in_group(&self.groups[one + 1].name),
                [one, two, ..] => bail!(
                    "tensor '{}' belongs to [[group]] number {} and to number {}",
                    spec.name,
                    one + 1,
                    two + 1
                ),
            });
        }
        if let Some(idle) = (0..self.globs.len()).find(|index| !used.contains(index)) {
            bail!("[[group]] number {}: its tensors match no tensor of the trace", idle + 1);
        }
        Ok(assigned)
    }

    /// The learning rate of each group for a base learning rate; the configured ones without.
    pub(crate) fn rates(&self, base: Option<f64>) -> anyhow::Result<Vec<f64>> {
        let configured = self.groups[0].rule.lr();
        let rate = |group: &Group| {
            let own = group.rule.lr();
            match base {
                None => Ok(own),
                // Exact also where the ratio would be rounded.
                Some(base) if own == configured => Ok(base),
                Some(base) => {
                    ensure!(
                        configured > 0.0,
                        "{}: its lr {own} has no ratio to the base's, which is 0",
                        group.name
                    );
                    Ok(base * (own / configured))
                }
            }
        };
        self.groups.iter().map(rate).collect()
    }
}

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
fn parse_rule(mut table: Table) -> anyhow::Result<Rule> {
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

/// A group's rule and tensors. What it does not say is the base's; for a group of another rule only
/// the base's learning rate is.
fn parse_group(base: &Table, mut table: Table) -> anyhow::Result<(Rule, GlobSet)> {
    let tensors = table.remove("tensors").context("the key 'tensors' is missing")?;
    let patterns: Vec<String> =
        tensors.try_into().context("the key 'tensors' must be an array of globs")?;
    ensure!(!patterns.is_empty(), "the key 'tensors' is empty");
    let mut globs = GlobSetBuilder::new();
    for pattern in &patterns {
        globs.add(Glob::new(pattern).with_context(|| format!("the glob '{pattern}'"))?);
    }
    let same_rule = table.get("rule").is_none_or(|rule| base.get("rule") == Some(rule));
    let inherited = base.iter().filter(|(key, _)| same_rule || key.as_str() == "lr");
    for (key, value) in inherited {
        table.entry(key).or_insert_with(|| value.clone());
    }
    Ok((parse_rule(table)?, globs.build()?))
}

/// toml's message in one line: where, what and which key, without its picture of the place.
fn one_line(error: &toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let is_picture = |line: &&str| {
        line.trim_start().trim_start_matches(char::is_numeric).trim_start().starts_with('|')
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_picture(line)).map(str::trim).collect();
    anyhow::anyhow!("{}", lines.join(": "))
}

#[cfg(test)]
mod tests;
