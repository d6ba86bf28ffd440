//! Which tensors a group has.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow, ensure};
use globset::{Glob, GlobSet, GlobSetBuilder};
use toml::Table;

use super::one_line;

/// The tensors that a `[[group]]` lists, by name or by glob.
#[derive(Debug)]
pub(super) struct Members {
    /// Names, in which no character stands for others.
    pub(super) names: BTreeSet<String>,
    globs: GlobSet,
}

impl Members {
    /// Takes its keys out of the table. Lists without entries make a group without tensors, which
    /// torch allows.
    pub(super) fn split_off(table: &mut Table) -> anyhow::Result<Self> {
        let names = list(table, "names", "names")?;
        let patterns = list(table, "tensors", "globs")?;
        ensure!(
            names.is_some() || patterns.is_some(),
            "the key 'names' or the key 'tensors' is missing"
        );
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns.unwrap_or_default() {
            // Its kind alone: the error names the glob again.
            let glob = Glob::new(&pattern);
            globs.add(glob.map_err(|error| anyhow!("the glob '{pattern}': {}", error.kind()))?);
        }
        let names = names.unwrap_or_default().into_iter().collect();
        Ok(Self { names, globs: globs.build()? })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.globs.is_match(name)
    }

    /// Whether it lists nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.globs.is_empty()
    }
}

/// An array of texts, if the table has the key.
fn list(table: &mut Table, key: &str, of: &str) -> anyhow::Result<Option<Vec<String>>> {
    let Some(value) = table.remove(key) else { return Ok(None) };
    let texts: Result<Vec<String>, toml::de::Error> = value.try_into();
    let texts = texts.map_err(|error| one_line(&error));
    Ok(Some(texts.with_context(|| format!("the key '{key}' must be an array of {of}"))?))
}
