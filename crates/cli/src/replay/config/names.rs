//! Values by the names that options of the command line have for them.

use std::fmt::Display;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, de::Error};

/// What `--option NAME` would mean.
pub(super) fn option<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: ValueEnum + Display,
    D: Deserializer<'de>,
{
    let name = String::deserialize(deserializer)?;
    T::from_str(&name, false).map_err(|_| {
        let names: Vec<String> =
            T::value_variants().iter().map(|value| format!("\"{value}\"")).collect();
        let (last, others) = names.split_last().expect("there are values");
        D::Error::custom(format!("must be {} or {last}, found \"{name}\"", others.join(", ")))
    })
}

/// As [`option`], of a key that may be absent.
pub(super) fn some_option<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: ValueEnum + Display,
    D: Deserializer<'de>,
{
    option(deserializer).map(Some)
}
