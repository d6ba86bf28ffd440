//! What `--json` wrote, read back.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    bench::row::{Row, SCHEMA, Subject},
    print,
};

/// Rows of one or more runs, and where they are from.
#[derive(Debug)]
pub(in crate::bench) struct Results {
    /// As it is printed.
    pub(super) name: String,
    pub(super) rows: Vec<Known>,
}

/// A row, as far as it is compared.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) on: On,
    pub(super) rounds: Rounds,
}

/// What a row is about: [`Subject`] as JSON has it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::bench) struct Key {
    pub(super) model: String,
    pub(super) rule: String,
    pub(super) options: Map<String, Value>,
}

/// How a row was measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct On {
    pub(super) version: String,
    pub(super) adapter: Adapter,
    pub(super) timing: String,
    pub(super) tensors: u64,
    pub(super) params: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Adapter {
    pub(super) name: String,
    pub(super) backend: String,
    pub(super) driver: String,
}

/// A value for each round: `null` where a clock told no time.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Rounds {
    pub(super) ms_per_step: Vec<Option<f64>>,
    pub(super) roofline: Vec<Option<f64>>,
    pub(super) copy_gb_per_s: Vec<Option<f64>>,
}

impl Results {
    pub(in crate::bench) fn read(path: &Path) -> Result<Self> {
        let name = print::path(path);
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let rows = serde_json::from_slice(&bytes)
            .context("expected JSON")
            .and_then(|value| parse(&value))
            .with_context(|| format!("{name}: no result of `fallline bench --json`"))?;
        Ok(Self { name, rows })
    }

    /// What was measured just now, as if it were read.
    pub(in crate::bench) fn measured(rows: &[Row]) -> Result<Self> {
        let rows = parse(&serde_json::to_value(rows)?).context("the rows just measured")?;
        Ok(Self { name: "measured now".to_owned(), rows })
    }

    /// The subjects of its rows, each once.
    pub(super) fn keys(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = Vec::new();
        for row in &self.rows {
            if !keys.contains(&&row.key) {
                keys.push(&row.key);
            }
        }
        keys
    }
}

impl Key {
    pub(in crate::bench) fn new(subject: &Subject) -> Result<Self> {
        let value = serde_json::to_value(subject)?;
        Self::parse(value.as_object().context("a subject is an object")?)
    }

    fn parse(row: &Map<String, Value>) -> Result<Self> {
        let text = |key: &str| match row.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => bail!("`{key}` must be a name, found {}", kind(other)),
            None => bail!("`{key}` is missing"),
        };
        // An option that a row does not name did not exist yet: nothing else than its default was measured.
        let option = |(key, default): (String, Value)| {
            let value = row.get(&key).cloned().unwrap_or(default);
            (key, value)
        };
        Ok(Self {
            model: text("model")?,
            rule: text("rule")?,
            options: default_options()?.into_iter().map(option).collect(),
        })
    }

    /// The options that are not at their defaults, as they are typed.
    pub(super) fn options(&self) -> Result<Vec<String>> {
        let defaults = default_options()?;
        let typed = |(key, value): (&String, &Value)| {
            let option = format!("--{}", key.replace('_', "-"));
            match value {
                Value::Bool(true) => option,
                Value::String(text) => format!("{option} {text}"),
                other => format!("{option} {other}"),
            }
        };
        let is_set = |(key, value): &(&String, &Value)| defaults.get(*key) != Some(*value);
        Ok(self.options.iter().filter(is_set).map(typed).collect())
    }
}

/// All options of a row.
fn default_options() -> Result<Map<String, Value>> {
    let Value::Object(mut options) = serde_json::to_value(Subject::plain("", ""))? else {
        bail!("a subject is an object");
    };
    options.remove("model");
    options.remove("rule");
    Ok(options)
}

fn parse(value: &Value) -> Result<Vec<Known>> {
    let Value::Array(rows) = value else {
        bail!("expected a list of rows, found {}", kind(value));
    };
    ensure!(!rows.is_empty(), "expected at least one row, found none");
    let row =
        |(index, row): (usize, &Value)| known(row).with_context(|| format!("row {}", index + 1));
    rows.iter().enumerate().map(row).collect()
}

fn known(row: &Value) -> Result<Known> {
    let Value::Object(fields) = row else {
        bail!("expected an object, found {}", kind(row));
    };
    match fields.get("schema") {
        Some(schema) => ensure!(
            *schema == SCHEMA,
            "expected `schema` {SCHEMA}, which this version of fallline reads, found {schema}"
        ),
        // As rows of --memory and --moving are, and those of versions that wrote no rounds.
        None => bail!("expected `schema` {SCHEMA} and the times of each round, found neither"),
    }
    let rounds = fields.get("rounds").unwrap_or(&Value::Null);
    let known = Known {
        key: Key::parse(fields)?,
        on: On::deserialize(row)?,
        rounds: Rounds::deserialize(rounds).context("`rounds`")?,
    };
    known.rounds.check()?;
    Ok(known)
}

impl Rounds {
    fn check(&self) -> Result<()> {
        for (key, values) in [
            ("ms_per_step", &self.ms_per_step),
            ("roofline", &self.roofline),
            ("copy_gb_per_s", &self.copy_gb_per_s),
        ] {
            ensure!(!values.is_empty(), "`rounds.{key}` must have a value at least, found none");
            if let Some(value) = values.iter().flatten().find(|value| **value < 0.0) {
                bail!("`rounds.{key}` must be numbers >= 0, found {value}");
            }
        }
        Ok(())
    }

    pub(super) fn extend(&mut self, more: &Self) {
        self.ms_per_step.extend(&more.ms_per_step);
        self.roofline.extend(&more.roofline);
        self.copy_gb_per_s.extend(&more.copy_gb_per_s);
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
