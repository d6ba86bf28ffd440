//! `--config`: the settings of a run and its optimizer, from TOML. What a flag says beside it takes its place.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fallline::{Dtype, Group, TensorSpec};
use serde::Deserialize;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::{
    Args,
    models::{Model, ModelArgs},
    schedule::{Chosen, of_length},
};
use crate::{
    around::Around,
    config::{self, Assigned, Config, schedules::Common},
    precision::{LossScale, Numerics},
    rule::RuleName,
    schedule::config::Given,
    schedulers::Schedulers,
    table::{check_keys, one_line, split_off},
};

/// The tables of a file, the most telling first.
const TABLES: [&str; 7] =
    ["train", "optimizer", "group", "clip", "loss_scale", "schedule", "weight_decay_schedule"];

/// A file, with its table `[train]` apart.
#[derive(Debug)]
pub(super) struct File {
    name: String,
    pub(super) model: ModelArgs,
    pub(super) run: RunKeys,
    tables: Table,
}

/// What `[train]` says besides the model, by the names of flags.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunKeys {
    pub(super) seed: Option<u64>,
    pub(super) warmup: Option<u32>,
    param: Option<Dtype>,
    grad: Option<Dtype>,
}

impl RunKeys {
    const KEYS: [&str; 4] = ["seed", "warmup", "param", "grad"];
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Self::parse(&name, &text).context(name)
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut tables: Table = toml::from_str(text).map_err(|error| one_line(&error))?;
        check_keys(&tables, &TABLES)?;
        ensure!(tables.contains_key("optimizer"), "the table [optimizer] is missing");
        let own = match tables.remove("train") {
            None => Table::new(),
            Some(Value::Table(own)) => own,
            Some(other) => bail!("train must be a table, found {other}"),
        };
        let (model, run) = parse_train(own).context("[train]")?;
        Ok(Self { name: name.to_owned(), model, run, tables })
    }

    /// The model that flags and this file ask for.
    pub(super) fn model(&self, flags: &ModelArgs) -> Result<Box<dyn Model>> {
        let Self { name, model, .. } = self;
        flags.clone().or(model.clone()).build().or_else(|error| {
            flags.build()?;
            match model.build() {
                Ok(_) => Err(error.context(format!("{name} with the flags beside it"))),
                Err(error) => bail!("{name}: [train]: {}", as_keys(&error.to_string())),
            }
        })
    }

    /// The optimizer, for a run of this model.
    pub(super) fn configure(mut self, args: &Args, model: &dyn Model) -> Result<Configured> {
        // What is wrong with a flag is none of the file's fault.
        let plan = model.plan();
        let flag = args.schedule.chosen(plan.steps)?.schedule;
        let flag = flag.map(|schedule| Common::asked("--schedule", schedule));
        let flag = flag.zip(args.schedule.table()?);
        let name = self.name.clone();
        self.take_flags(args, model).context(name.clone())?;
        let read = |table: Table| {
            let instead = "metrics has no meaning for train: it is the test losses";
            ensure!(!table.contains_key("metrics"), instead);
            Ok(Given::new(of_length(table, plan.steps)?))
        };
        let warmup = args.schedule.warmup.or(self.run.warmup);
        let mut tables = self.tables.clone();
        let common = match flag {
            None => Chosen { schedule: None, warmup }.common(plan),
            Some((common, table)) => {
                tables.remove("schedule");
                self.tables.insert("schedule".to_owned(), table.into());
                common
            }
        };
        let config = Config::of_tables(tables, &read).context(name.clone())?.or_schedule(common);
        let numerics = self.numerics(args, &config).context(name.clone())?;
        let words = String::new();
        let mut configured = Configured { name, tables: self.tables, config, numerics, words };
        let assigned = configured.assign(model)?;
        let schedulers = configured.schedulers(&assigned.groups, plan.steps)?;
        configured.words = configured.words(&assigned, &schedulers);
        Ok(configured)
    }

    /// Puts flags where the file has keys for what they say, and the model's limit to the norm where it says nothing.
    fn take_flags(&mut self, args: &Args, model: &dyn Model) -> Result<()> {
        args.precision.write_to(&mut self.tables);
        if let (None, Some(norm)) = (self.tables.get("clip"), model.default_clip()) {
            let clip = [("norm".to_owned(), norm.into())].into_iter().collect();
            self.tables.insert("clip".to_owned(), Value::Table(clip));
        }
        if let Some(Value::Table(optimizer)) = self.tables.get_mut("optimizer") {
            let around = split_off(optimizer, &Around::KEYS).context("[optimizer]")?;
            optimizer.extend(Table::try_from(args.around.or(around))?);
        }
        args.lr.map_or(Ok(()), |lr| set_lr(&mut self.tables, lr))
    }

    /// How numbers are kept; of the state and of what is beside parameters, the base's word.
    fn numerics(&self, args: &Args, config: &Config) -> Result<Numerics> {
        let param = args.precision.param.or(self.run.param).unwrap_or_default();
        let loss_scale = match &config.loss_scale {
            None => LossScale::None,
            Some(config::LossScale::Fixed(scale)) => LossScale::Fixed(*scale),
            Some(config::LossScale::Dynamic(rule)) => {
                LossScale::Dynamic { init_scale: rule.init_scale }
            }
        };
        Ok(Numerics {
            param,
            grad: args.precision.grad.or(self.run.grad).unwrap_or(param),
            precision: config.precision(param)?,
            state: config.base().state,
            loss_scale,
            clip: config.clip.norm,
        })
    }
}

fn parse_train(mut table: Table) -> Result<(ModelArgs, RunKeys)> {
    check_keys(&table, &[&ModelArgs::KEYS[..], &RunKeys::KEYS].concat())?;
    let model = split_off(&mut table, &ModelArgs::KEYS)?;
    Ok((model, split_off(&mut table, &RunKeys::KEYS)?))
}

/// Flags in a text as the keys that they are in a file.
fn as_keys(text: &str) -> String {
    let key = |word: &str| {
        let flag = word.strip_prefix("--");
        flag.map_or(word.to_owned(), |flag| flag.replace('-', "_"))
    };
    text.split(' ').map(key).collect::<Vec<_>>().join(" ")
}

/// Gives `[optimizer]` another learning rate, to which groups keep their ratio.
fn set_lr(tables: &mut Table, lr: f64) -> Result<()> {
    #[allow(clippy::cast_precision_loss, reason = "what TOML makes of it too")]
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    let Some(Value::Table(optimizer)) = tables.get_mut("optimizer") else { return Ok(()) };
    let rule = optimizer.get("rule").and_then(Value::as_str).and_then(RuleName::known);
    let default = rule.map(|rule| rule.rule().lr());
    let old = optimizer.insert("lr".to_owned(), lr.into());
    let Some(old) = old.as_ref().map_or(default, number) else { return Ok(()) };
    let Some(Value::Array(groups)) = tables.get_mut("group") else { return Ok(()) };
    for (index, group) in groups.iter_mut().enumerate() {
        let Some(own) = group.get_mut("lr") else { continue };
        let Some(found) = number(own) else { continue };
        ensure!(
            old > 0.0 || found == old,
            "[[group]] number {}: its lr {found} has no ratio to that of [optimizer], which is {old}, for --lr",
            index + 1
        );
        // Exact also where the ratio would be rounded.
        *own = if found == old { lr } else { lr * (found / old) }.into();
    }
    Ok(())
}

/// The optimizer that a file describes, with the flags beside it.
#[derive(Debug)]
pub(super) struct Configured {
    name: String,
    tables: Table,
    pub(super) config: Config,
    /// Of the base.
    pub(super) numerics: Numerics,
    words: String,
}

impl Configured {
    /// The file's.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The base's rule and learning rate.
    pub(super) fn rule(&self) -> Result<(RuleName, f64)> {
        let rule = RuleName::known(self.config.rule_name()).context("a rule of the engine")?;
        Ok((rule, self.config.base().rule.lr()))
    }

    /// What the base has around its rule.
    pub(super) fn around(&self) -> Around {
        Around::in_group(self.config.base())
    }

    /// The model's tensors in their groups.
    pub(super) fn assign(&self, model: &dyn Model) -> Result<Assigned> {
        let Numerics { param, grad, .. } = self.numerics;
        let specs = model.tensors().into_iter().map(|mut spec: TensorSpec| {
            spec.group = None;
            spec.dtype(param).grad_dtype(grad)
        });
        self.config.assign(specs).with_context(|| self.name.clone())
    }

    /// What moves its groups.
    pub(super) fn schedulers(&self, groups: &[Group], steps: u32) -> Result<Schedulers> {
        self.config.schedulers(groups, steps).with_context(|| self.name.clone())
    }

    /// All that it says, key by key, for checkpoints and JSON.
    pub(super) fn entries(&self) -> Vec<(String, Json)> {
        let known = TABLES.iter().filter_map(|table| Some((table, self.tables.get(*table)?)));
        let places = known.flat_map(|(table, value)| match value {
            Value::Array(tables) => {
                let place = |n| format!("[[{table}]] number {n}");
                (1..).map(place).zip(tables).collect()
            }
            keys => vec![(format!("[{table}]"), keys)],
        });
        let keys = |(place, table): (String, &Value)| -> Vec<(String, Json)> {
            let keys = table.as_table().into_iter().flatten();
            keys.map(|(key, value)| (format!("{place} {key}"), json(value))).collect()
        };
        places.flat_map(keys).collect()
    }

    /// The tables as JSON.
    pub(super) fn json(&self) -> Json {
        self.tables.iter().map(|(key, value)| (key.clone(), json(value))).collect()
    }

    /// Which group has what, a line for each.
    pub(super) fn in_words(&self) -> &str {
        &self.words
    }

    /// The same of tensors in their groups, and what these follow.
    fn words(&self, assigned: &Assigned, schedulers: &Schedulers) -> String {
        let Assigned { specs, groups, .. } = assigned;
        let line = |(group, along): (&Group, String)| {
            let name = Some(group.name.as_str());
            let tensors = specs.iter().filter(|spec| spec.group.as_deref() == name).count();
            let plural = if tensors == 1 { "" } else { "s" };
            let state =
                (group.state != self.numerics.state).then(|| format!("state {}", group.state));
            let around = Around::in_group(group);
            let around = around.in_words().filter(|_| around != self.around());
            let more: String =
                state.into_iter().chain(around).map(|more| format!(", {more}")).collect();
            // In the kernels' f32, without the digits that a product of f64 has.
            #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
            let (rule, lr) = (group.rule.name(), group.lr() as f32);
            let name = &group.name;
            format!("  {name}: {rule}, {tensors} tensor{plural}, lr {lr}{along}{more}\n")
        };
        let lines: String = groups.iter().zip(schedulers.in_words()).map(line).collect();
        format!("Groups of {}:\n{lines}", self.name)
    }
}

/// A value as JSON, with text for numbers that JSON has none for.
fn json(value: &Value) -> Json {
    match value {
        Value::Float(float) if !float.is_finite() => float.to_string().into(),
        Value::Float(float) => (*float).into(),
        Value::Integer(integer) => (*integer).into(),
        Value::Boolean(is_on) => (*is_on).into(),
        Value::String(text) => text.clone().into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(key, v)| (key.clone(), json(v))).collect(),
    }
}
