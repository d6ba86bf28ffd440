//! The optimizer and its groups, from TOML, under torch's names: what `replay` and others read.

mod amp;
mod frozen;
mod grouping;
mod help;
mod members;
mod rules;
pub(crate) mod schedules;
mod state;

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use fallline::{
    Dtype, Error, Gpu, Group, Groups, Optimizer, Options, Precision, Select, TensorSpec,
};
use serde::Deserialize;
use toml::Table;

pub(crate) use amp::LossScale;
use amp::{Clip, Kept, Rounding};
pub(crate) use frozen::Frozen;
use grouping::Grouping;
pub(crate) use help::HELP;
use schedules::{Common, Read, Schedules};
use state::KeptState;

use crate::{
    around::Around,
    schedule::config::Given,
    schedulers::Schedulers,
    table::{one_line, split_off},
};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    optimizer: Table,
    #[serde(default)]
    clip: Table,
    loss_scale: Option<Table>,
    schedule: Option<Table>,
    weight_decay_schedule: Option<Table>,
    #[serde(default)]
    group: Vec<Table>,
}

/// The groups, and what holds for all of them.
#[derive(Debug)]
pub(crate) struct Config {
    /// The base first, then one for each `[[group]]`, before they are split.
    groups: Vec<Configured>,
    chosen: Groups,
    pub(crate) clip: Clip,
    pub(crate) loss_scale: Option<LossScale>,
    schedules: Schedules,
    kept: Kept,
}

/// A group as the file has it.
#[derive(Debug)]
struct Configured {
    group: Group,
    rounding: Rounding,
    frozen: Option<Frozen>,
}

/// Tensors in their groups.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) specs: Vec<TensorSpec>,
    pub(crate) groups: Vec<Group>,
    /// Tensors that are frozen in some steps.
    pub(crate) frozen: Vec<(Frozen, Select)>,
}

impl Assigned {
    /// Tensors that say their groups themselves.
    pub(crate) fn new(specs: Vec<TensorSpec>, groups: Vec<Group>) -> Self {
        Self { specs, groups, frozen: Vec::new() }
    }

    /// Freezes what is frozen in step `t` and was not before, and the other way round. Which tensors are frozen is no part
    /// of a checkpoint: the first step that this process takes finds none.
    pub(crate) fn freeze(
        &self,
        optimizer: &mut Optimizer,
        t: u32,
        first: u32,
    ) -> fallline::Result<()> {
        for (frozen, select) in &self.frozen {
            let was_frozen = t > first && frozen.is_in(t - 1);
            match (was_frozen, frozen.is_in(t)) {
                (false, true) => optimizer.freeze(select.clone())?,
                (true, false) => optimizer.unfreeze(select.clone())?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Config {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", place()))?;
        Self::parse(&text).with_context(place)
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let file = toml::from_str(text).map_err(|error| one_line(&error))?;
        Self::of(file, &Given::parse)
    }

    /// What the tables of a file say, with schedules as this reads them.
    pub(crate) fn of_tables(tables: Table, read_schedule: &Read<'_>) -> anyhow::Result<Self> {
        Self::of(tables.try_into().map_err(|error| one_line(&error))?, read_schedule)
    }

    fn of(file: File, read_schedule: &Read<'_>) -> anyhow::Result<Self> {
        let mut base = file.optimizer;
        ensure!(base.contains_key("rule"), "[optimizer] must name its rule");
        Schedules::check_base(&base).context("[optimizer]")?;
        let kept = Kept::split_off(&mut base).context("[optimizer]")?;
        let rounding = Rounding::split_off(&mut base, Rounding::default());
        let rounding = rounding.context("[optimizer]")?;
        let state = KeptState::split_off(&mut base).context("[optimizer]")?;
        let around = split_off_around(&mut base).context("[optimizer]")?;
        let grouping = Grouping::split_off(&mut base).context("[optimizer]")?;
        let frozen = Frozen::split_off(&mut base).context("[optimizer]")?;
        let rule = rules::parse(base.clone()).context("[optimizer]")?;
        let clip = Clip::parse(file.clip).context("[clip]")?;
        let loss_scale = file.loss_scale.map(LossScale::parse).transpose();
        let loss_scale = loss_scale.context("[loss_scale]")?;
        let common = [file.schedule, file.weight_decay_schedule];
        let mut schedules = Schedules::common(common, read_schedule)?;
        let group = around.of(state.of(Group::new("optimizer", rule)));
        let mut chosen = Groups::new().rest(group.clone());
        let mut groups = vec![Configured { group, rounding, frozen }];
        for (index, mut table) in file.group.into_iter().enumerate() {
            let name = format!("[[group]] number {}", index + 1);
            schedules.split_off(&mut table, read_schedule).with_context(|| name.clone())?;
            let base = Base { table: &base, state, around, rounding };
            let (own, select) = parse_group(base, &name, table).with_context(|| name.clone())?;
            chosen = chosen.group(own.group.clone(), select);
            groups.push(own);
        }
        Ok(Self { groups, chosen: grouping.of(chosen), clip, loss_scale, schedules, kept })
    }

    /// What holds for all groups, with a loss scaler on this device, and this seed if the file has none.
    pub(crate) fn options(&self, gpu: &Gpu, seed: u32) -> anyhow::Result<Options> {
        let scaler = self.loss_scale.as_ref().map(|scale| scale.scaler(gpu)).transpose();
        Ok(Options {
            max_norm: self.clip.norm,
            clip_value: self.clip.value,
            loss_scaler: scaler.context("[loss_scale]")?,
            seed: self.kept.seed.unwrap_or(seed),
            ..Options::default()
        })
    }

    /// Whether the optimizer measures its gradients, and so reports what it found.
    pub(crate) fn measures(&self) -> bool {
        self.clip.norm.is_some()
            || self.loss_scale.is_some()
            || self.groups.iter().any(|own| own.group.max_norm.is_some())
    }

    /// The group of all tensors that no other has.
    pub(crate) fn base(&self) -> &Group {
        &self.groups[0].group
    }

    /// The base rule's name.
    pub(crate) fn rule_name(&self) -> &'static str {
        self.base().rule.name()
    }

    /// With this schedule of learning rates, if there is none.
    pub(crate) fn or_schedule(mut self, common: Common) -> Self {
        self.schedules.lr.common.get_or_insert(common);
        self
    }

    /// How the base keeps its parameters, if these are of this format; an error if a group cannot keep them so.
    pub(crate) fn precision(&self, dtype: Dtype) -> anyhow::Result<Precision> {
        for Configured { group, rounding, .. } in &self.groups {
            // f32 needs nothing beside it.
            let asked = rounding.precision(Dtype::Bf16);
            let expected = asked.dtypes();
            let names: Vec<&str> = expected.iter().map(|dtype| dtype.name()).collect();
            ensure!(
                expected.contains(&dtype),
                "{}: parameters with {} must be in {}, found {dtype}",
                group.name,
                asked.in_words(),
                names.join(" or ")
            );
        }
        Ok(self.groups[0].rounding.precision(dtype))
    }

    /// Puts every tensor into the group that lists it, and keeps its parameter as configured.
    pub(crate) fn assign(
        &self,
        specs: impl Iterator<Item = TensorSpec>,
    ) -> anyhow::Result<Assigned> {
        let mut specs: Vec<TensorSpec> = specs.collect();
        let groups = self.chosen.assign(&mut specs).map_err(|error| match error {
            // The key has another name here.
            Error::GroupOption { group, option: "max_norm", reason } => {
                anyhow!("{group}: clip_norm: {reason}")
            }
            error => error.into(),
        })?;
        let mut names = vec![Vec::new(); self.groups.len()];
        for spec in &mut specs {
            let number = self.number(spec.group.as_deref().unwrap_or_default());
            spec.precision = self.groups[number].rounding.precision(spec.dtype);
            names[number].push(spec.name.clone());
        }
        let frozen = self.groups.iter().zip(names).filter(|(_, names)| !names.is_empty());
        let frozen = frozen.filter_map(|(own, names)| Some((own.frozen?, Select::names(names))));
        let frozen = frozen.collect();
        Ok(Assigned { specs, groups, frozen })
    }

    /// Whether anything moves from step to step.
    pub(crate) fn has_schedules(&self) -> bool {
        self.schedules.any()
    }

    /// What moves these groups in so many steps.
    pub(crate) fn schedulers(&self, groups: &[Group], steps: u32) -> anyhow::Result<Schedulers> {
        let configured: Vec<Group> = self.groups.iter().map(|own| own.group.clone()).collect();
        let numbers: Vec<usize> = groups.iter().map(|group| self.number(&group.name)).collect();
        Schedulers::new(&self.schedules, &configured, (groups, &numbers), steps)
    }

    /// The number of the configured group that one of this name is, or is a part of.
    fn number(&self, name: &str) -> usize {
        let is_of = |own: &Configured| {
            let rest = name.strip_prefix(own.group.name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.groups.iter().position(is_of).unwrap_or(0)
    }

    /// The learning rate of each of these groups in a step for which the trace has such: one for each that is
    /// configured, or the base's, to which the others keep their ratio. The configured ones if it has none.
    pub(crate) fn rates(
        &self,
        groups: &[Group],
        recorded: Option<&[f64]>,
    ) -> anyhow::Result<Vec<f64>> {
        if let Some(rates) = recorded {
            ensure!(
                [1, self.groups.len()].contains(&rates.len()),
                "must hold one learning rate, or one for [optimizer] and for each [[group]], {} in \
                 all, found {}",
                self.groups.len(),
                rates.len()
            );
        }
        let rate = |group: &Group| match recorded {
            None => Ok(group.lr()),
            Some(&[base]) => Ok(self.in_ratio(group, base)? * group.lr_scale),
            Some(rates) => Ok(rates[self.number(&group.name)] * group.lr_scale),
        };
        groups.iter().map(rate).collect()
    }

    /// The learning rate that keeps a group's ratio to the base.
    fn in_ratio(&self, group: &Group, base: f64) -> anyhow::Result<f64> {
        let (own, configured) = (group.rule.lr(), self.groups[0].group.rule.lr());
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

/// What groups inherit.
#[derive(Clone, Copy, Debug)]
struct Base<'a> {
    /// The rule and its options.
    table: &'a Table,
    state: KeptState,
    around: Around,
    rounding: Rounding,
}

/// A group and its tensors. What it does not say is the base's; for a group of another rule only the
/// base's learning rate, formats and what comes around the rule are.
fn parse_group(
    base: Base<'_>,
    name: &str,
    mut table: Table,
) -> anyhow::Result<(Configured, Select)> {
    let select = members::split_off_select(&mut table)?;
    let max_norm = amp::group_norm(&mut table)?;
    let rounding = Rounding::split_off(&mut table, base.rounding)?;
    let state = KeptState::split_off(&mut table)?.or(base.state);
    let around = split_off_around(&mut table)?.or(base.around);
    let frozen = Frozen::split_off(&mut table)?;
    let same_rule = table.get("rule").is_none_or(|rule| base.table.get("rule") == Some(rule));
    let inherited = base.table.iter().filter(|(key, _)| same_rule || key.as_str() == "lr");
    for (key, value) in inherited {
        table.entry(key).or_insert_with(|| value.clone());
    }
    let mut group = around.of(state.of(Group::new(name, rules::parse(table)?)));
    group.max_norm = max_norm;
    Ok((Configured { group, rounding, frozen }, select))
}

/// Takes what comes around the rule out of a table: as the format of the state, a group of another rule inherits it.
fn split_off_around(table: &mut Table) -> anyhow::Result<Around> {
    let around: Around = split_off(table, &Around::KEYS)?;
    around.check()?;
    Ok(around)
}

#[cfg(test)]
mod tests;
