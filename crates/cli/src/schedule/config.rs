//! The table `[schedule]`.

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use fallline::schedule::{AnySchedule, deserialize_schedule};
use serde::Deserialize;
use toml::{Table, Value};

use crate::table::{one_line, split_off};

/// A schedule, and the metrics that it is given after each step, as long as there are any.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) schedule: AnySchedule,
    pub(crate) metrics: Vec<f64>,
}

impl Given {
    /// One that is given none.
    pub(crate) fn new(schedule: AnySchedule) -> Self {
        Self { schedule, metrics: Vec::new() }
    }

    pub(crate) fn parse(mut table: Table) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Own {
            metrics: Option<Vec<f64>>,
        }
        let Own { metrics } = split_off(&mut table, &["metrics"])?;
        let schedule = parse(table)?;
        let kind = schedule.kind();
        let metrics = match (schedule.closed_form(), metrics) {
            (None, Some(metrics)) => metrics,
            (None, None) => return Err(anyhow!("metrics are missing, by which '{kind}' goes")),
            (Some(_), Some(_)) => {
                return Err(anyhow!("'{kind}' goes by steps alone, and takes no metrics"));
            }
            (Some(_), None) => Vec::new(),
        };
        Ok(Self { schedule, metrics })
    }
}

/// The same with what it begins from.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) given: Given,
    pub(super) base_lrs: Vec<f64>,
}

impl Config {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&std::fs::read_to_string(path).context("cannot read it")?)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        Self::of(table(text)?).context("[schedule]")
    }

    fn of(mut table: Table) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Own {
            base_lrs: Option<Vec<f64>>,
        }
        let Own { base_lrs } = split_off(&mut table, &["base_lrs"])?;
        let given = Given::parse(table)?;
        let base_lrs = base_lrs.context("base_lrs is missing, a learning rate for each group")?;
        Ok(Self { given, base_lrs })
    }
}

/// The table `[schedule]` of a file, with what a schedule is given, wherever that stands.
pub(crate) fn table(text: &str) -> anyhow::Result<Table> {
    let mut file: Table = toml::from_str(text).map_err(|error| one_line(&error))?;
    let table = file.remove("schedule").context("the table [schedule] is missing")?;
    let Value::Table(mut table) = table else {
        return Err(anyhow!("schedule must be a table, found {}", table.type_str()));
    };
    for key in ["base_lrs", "metrics"] {
        let Some(value) = file.remove(key) else { continue };
        ensure!(!table.contains_key(key), "{key} stands in [schedule] and before it");
        table.insert(key.to_owned(), value);
    }
    match file.keys().next() {
        Some(key) => Err(anyhow!("unknown key '{key}', expected [schedule], base_lrs or metrics")),
        None => Ok(table),
    }
}

/// The schedule that a table describes by its `kind` and options; those of sequences and chains by tables of their own.
pub(crate) fn parse(mut table: Table) -> anyhow::Result<AnySchedule> {
    let kind = match table.remove("kind").context("kind is missing")? {
        Value::String(kind) => kind,
        other => return Err(anyhow!("kind must be a string, found {}", other.type_str())),
    };
    let consists = ["sequential", "chained"].contains(&kind.as_str());
    let inner = if consists { schedulers(&mut table)? } else { Vec::new() };
    let context = || format!("kind '{kind}'");
    let mut schedule = deserialize_schedule(&kind, table)
        .map_err(|error| one_line(&error))
        .with_context(context)?;
    match &mut schedule {
        AnySchedule::Sequential(sequence) => sequence.schedulers = inner,
        AnySchedule::Chained(chain) => chain.schedulers = inner,
        _ => {}
    }
    Ok(schedule)
}

/// Takes the schedules that another consists of out of its table, and leaves an empty list: so each error names its place.
fn schedulers(table: &mut Table) -> anyhow::Result<Vec<AnySchedule>> {
    let Some(Value::Array(inner)) = table.get_mut("schedulers") else { return Ok(Vec::new()) };
    let parse_one = |(index, value): (usize, Value)| match value {
        Value::Table(table) => parse(table).with_context(|| format!("schedulers[{index}]")),
        other => Err(anyhow!("schedulers[{index}] must be a table, found {}", other.type_str())),
    };
    std::mem::take(inner).into_iter().enumerate().map(parse_one).collect()
}
