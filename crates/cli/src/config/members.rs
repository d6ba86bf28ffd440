//! Which tensors a group has.

use anyhow::{Context, bail};
use fallline::Select;
use toml::Table;

use crate::table::{one_line, split_off};

/// Takes out of a `[[group]]` what says its tensors: names, globs, the most dimensions. Lists without entries make a
/// group without tensors, which torch allows.
pub(super) fn split_off_select(table: &mut Table) -> anyhow::Result<Select> {
    let names = list(table, "names", "names")?;
    let globs = list(table, "tensors", "globs")?;
    let max_dims = max_dims(table)?.map(Select::max_dims);
    let listed = (names.is_some() || globs.is_some()).then(|| {
        let (names, globs) = (names.unwrap_or_default(), globs.unwrap_or_default());
        Select::names(names).or(Select::globs(globs))
    });
    let select = match (listed, max_dims) {
        (Some(listed), Some(max_dims)) => listed.and(max_dims),
        (Some(select), None) | (None, Some(select)) => select,
        (None, None) => bail!("the key 'names', 'tensors' or 'max_dims' is missing"),
    };
    select.check()?;
    Ok(select)
}

fn max_dims(table: &mut Table) -> anyhow::Result<Option<usize>> {
    #[derive(serde::Deserialize)]
    struct Own {
        max_dims: Option<usize>,
    }
    let Own { max_dims } = split_off(table, &["max_dims"])?;
    Ok(max_dims)
}

/// An array of texts, if the table has the key.
pub(super) fn list(table: &mut Table, key: &str, of: &str) -> anyhow::Result<Option<Vec<String>>> {
    let Some(value) = table.remove(key) else { return Ok(None) };
    let texts: Result<Vec<String>, toml::de::Error> = value.try_into();
    let texts = texts.map_err(|error| one_line(&error));
    Ok(Some(texts.with_context(|| format!("the key '{key}' must be an array of {of}"))?))
}
