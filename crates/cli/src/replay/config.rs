//! The optimizer and its groups, from TOML, under torch's names.

mod amp;
mod members;
mod rules;
mod state;

use std::{collections::HashSet, path::Path};

use anyhow::{Context, anyhow, bail, ensure};
use fallline::{Gpu, Group, Options, TensorSpec};
use serde::{Deserialize, de::DeserializeOwned};
use toml::Table;

use amp::{Clip, Kept, LossScale};
use members::Members;
use state::KeptState;

use crate::around::Around;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    optimizer: Table,
    #[serde(default)]
    clip: Table,
    loss_scale: Option<Table>,
    #[serde(default)]
    group: Vec<Table>,
}

/// The groups, and what holds for all of them.
#[derive(Debug)]
pub(crate) struct Config {
    /// The base first, then one for each `[[group]]`.
    pub(crate) groups: Vec<Group>,
    pub(crate) clip: Clip,
    pub(crate) loss_scale: Option<LossScale>,
    kept: Kept,
    /// One for each `[[group]]`.
    members: Vec<Members>,
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
        let mut base = file.optimizer;
        ensure!(base.contains_key("rule"), "[optimizer] must name its rule");
        let kept = Kept::split_off(&mut base).context("[optimizer]")?;
        let state = KeptState::split_off(&mut base).context("[optimizer]")?;
        let around = split_off_around(&mut base).context("[optimizer]")?;
        let rule = rules::parse(base.clone()).context("[optimizer]")?;
        let clip = Clip::parse(file.clip).context("[clip]")?;
        let loss_scale = file.loss_scale.map(LossScale::parse).transpose();
        let loss_scale = loss_scale.context("[loss_scale]")?;
        let mut groups = vec![around.of(state.of(Group::new("optimizer", rule)))];
        let mut members = Vec::new();
        for (index, table) in file.group.into_iter().enumerate() {
            let name = format!("[[group]] number {}", index + 1);
            let (group, own) =
                parse_group(&base, (state, around), &name, table).with_context(|| name.clone())?;
            groups.push(group);
            members.push(own);
        }
        Ok(Self { groups, clip, loss_scale, kept, members })
    }

    /// What holds for all groups, with a loss scaler on this device.
    pub(crate) fn options(&self, gpu: &Gpu) -> anyhow::Result<Options> {
        let scaler = self.loss_scale.as_ref().map(|scale| scale.scaler(gpu)).transpose();
        Ok(Options {
            max_norm: self.clip.norm,
            clip_value: self.clip.value,
            loss_scaler: scaler.context("[loss_scale]")?,
            seed: self.kept.seed,
            ..Options::default()
        })
    }

    /// Whether the optimizer measures its gradients, and so reports what it found.
    pub(crate) fn measures(&self) -> bool {
        self.clip.norm.is_some()
            || self.loss_scale.is_some()
            || self.groups.iter().any(|group| group.max_norm.is_some())
    }

    /// The base rule's name.
    pub(crate) fn rule_name(&self) -> &'static str {
        self.groups[0].rule.name()
    }

    /// Puts every tensor into the group that lists it, and keeps its parameter as configured.
    pub(crate) fn assign(
        &self,
        specs: impl Iterator<Item = TensorSpec>,
    ) -> anyhow::Result<Vec<TensorSpec>> {
        let mut used: HashSet<usize> = HashSet::new();
        let mut assigned = Vec::new();
        for mut spec in specs {
            spec.precision = self.kept.precision(spec.dtype);
            let matching: Vec<usize> =
                (0..self.members.len()).filter(|&i| self.members[i].has(&spec.name)).collect();
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
        let known: HashSet<&str> = assigned.iter().map(|spec| spec.name.as_str()).collect();
        for (index, members) in self.members.iter().enumerate() {
            let number = index + 1;
            if let Some(unknown) = members.names.iter().find(|name| !known.contains(name.as_str()))
            {
                bail!("[[group]] number {number}: names: the trace has no tensor '{unknown}'");
            }
            ensure!(
                used.contains(&index) || members.is_empty(),
                "[[group]] number {number}: its tensors match no tensor of the trace"
            );
        }
        Ok(assigned)
    }

    /// The learning rate of each group in a step for which the trace has these: one for each group,
    /// or the base's, to which the others keep their ratio. The configured ones if it has none.
    pub(crate) fn rates(&self, recorded: Option<&[f64]>) -> anyhow::Result<Vec<f64>> {
        let groups = &self.groups;
        match recorded {
            None => Ok(groups.iter().map(|group| group.rule.lr()).collect()),
            Some(&[base]) => groups.iter().map(|group| self.in_ratio(group, base)).collect(),
            Some(rates) => {
                ensure!(
                    rates.len() == groups.len(),
                    "must hold one learning rate, or one for [optimizer] and for each [[group]], {} \
                     in all, found {}",
                    groups.len(),
                    rates.len()
                );
                Ok(rates.to_vec())
            }
        }
    }

    /// The learning rate that keeps a group's ratio to the base.
    fn in_ratio(&self, group: &Group, base: f64) -> anyhow::Result<f64> {
        let (own, configured) = (group.rule.lr(), self.groups[0].rule.lr());
        if own == configured {
            // Exact also where the ratio would be rounded.
            return Ok(base);
        }
        ensure!(
            configured > 0.0,
            "{}: its lr {own} has no ratio to the base's, which is 0",
            group.name
        );
        Ok(base * (own / configured))
    }
}

/// A group and its tensors. What it does not say is the base's; for a group of another rule only the
/// base's learning rate, format of the state and what comes around the rule are.
fn parse_group(
    base: &Table,
    (base_state, base_around): (KeptState, Around),
    name: &str,
    mut table: Table,
) -> anyhow::Result<(Group, Members)> {
    let members = Members::split_off(&mut table)?;
    let max_norm = amp::group_norm(&mut table)?;
    let state = KeptState::split_off(&mut table)?.or(base_state);
    let around = split_off_around(&mut table)?.or(base_around);
    let same_rule = table.get("rule").is_none_or(|rule| base.get("rule") == Some(rule));
    let inherited = base.iter().filter(|(key, _)| same_rule || key.as_str() == "lr");
    for (key, value) in inherited {
        table.entry(key).or_insert_with(|| value.clone());
    }
    let mut group = Group::new(name, rules::parse(table)?);
    group.max_norm = max_norm;
    Ok((around.of(state.of(group)), members))
}

/// Takes what comes around the rule out of a table: as the format of the state, a group of another rule inherits it.
fn split_off_around(table: &mut Table) -> anyhow::Result<Around> {
    let around: Around = split_off(table, &Around::KEYS)?;
    around.check()?;
    Ok(around)
}

/// Takes these keys out of a table. They stay in one, so that what is wrong with a value names its key.
fn split_off<T: DeserializeOwned>(table: &mut Table, keys: &[&str]) -> anyhow::Result<T> {
    let own = |key: &&str| Some(((*key).to_owned(), table.remove(*key)?));
    let own: Table = keys.iter().filter_map(own).collect();
    own.try_into().map_err(|error| one_line(&error))
}

/// toml's message in one line: where, what and which key, without its picture of the place.
fn one_line(error: &toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let is_picture = |line: &&str| {
        line.trim_start().trim_start_matches(char::is_numeric).trim_start().starts_with('|')
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_picture(line)).map(str::trim).collect();
    anyhow!("{}", lines.join(": "))
}

#[cfg(test)]
mod tests;
