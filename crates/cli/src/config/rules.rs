//! The rule that a table of the config describes.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use fallline::{OutOfRange, Rule, deserialize_rule};
use serde::Deserialize;
use toml::Table;

use crate::rule::RuleName;
use crate::table::one_line;

/// The rule that a table describes, with torch's defaults for what it does not say.
pub(super) fn parse(mut table: Table) -> anyhow::Result<Arc<dyn Rule>> {
    let name = table.remove("rule").context("the key 'rule' is missing")?;
    let name = RuleName::deserialize(name).map_err(|error| one_line(&error))?;
    let context = || format!("rule '{name}'");
    let rule = deserialize_rule(name.as_str(), table).map_err(|error| one_line(&error));
    let rule = rule.with_context(context)?;
    rule.check()
        .map_err(|OutOfRange { name, expected, found }| {
            anyhow!("{name} must be {expected}, found {found}")
        })
        .with_context(context)?;
    Ok(rule)
}
