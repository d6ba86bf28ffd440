//! Tables of TOML: some keys of one, and what is wrong with it in one line.

use anyhow::{anyhow, bail};
use serde::de::DeserializeOwned;
use toml::Table;

/// Takes these keys out of a table. They stay in one, so that what is wrong with a value names its key.
pub(crate) fn split_off<T: DeserializeOwned>(
    table: &mut Table,
    keys: &[&str],
) -> anyhow::Result<T> {
    let own = |key: &&str| Some(((*key).to_owned(), table.remove(*key)?));
    let own: Table = keys.iter().filter_map(own).collect();
    own.try_into().map_err(|error| one_line(&error))
}

/// Whether a table has no keys but these.
pub(crate) fn check_keys(table: &Table, keys: &[&str]) -> anyhow::Result<()> {
    match table.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => bail!("unknown key '{key}', expected one of {}", keys.join(", ")),
        None => Ok(()),
    }
}

/// toml's message in one line: where, what and which key, without its picture of the place.
pub(crate) fn one_line(error: &toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let is_picture = |line: &&str| {
        line.trim_start().trim_start_matches(char::is_numeric).trim_start().starts_with('|')
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_picture(line)).map(str::trim).collect();
    anyhow!("{}", lines.join(": "))
}
