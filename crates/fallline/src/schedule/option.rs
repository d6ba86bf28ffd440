//! Ranges of options, and options that may differ from group to group.

use std::fmt::Display;

use crate::{Error, Result};

/// An error that names the option, unless it is as it must be.
pub(super) fn ensure(
    ok: bool,
    kind: &'static str,
    option: &str,
    expected: impl Into<String>,
    found: impl Display,
) -> Result<()> {
    if ok {
        return Ok(());
    }
    let (expected, found) = (expected.into(), found.to_string());
    Err(Error::Schedule { kind, option: option.to_owned(), expected, found })
}

/// A number of steps that something is divided by.
pub(super) fn at_least_1(kind: &'static str, option: &str, found: u64) -> Result<()> {
    ensure(found >= 1, kind, option, ">= 1", found)
}

pub(super) fn non_negative(kind: &'static str, option: &str, found: f64) -> Result<()> {
    ensure(found.is_finite() && found >= 0.0, kind, option, "finite and >= 0", found)
}

pub(super) fn positive(kind: &'static str, option: &str, found: f64) -> Result<()> {
    ensure(found.is_finite() && found > 0.0, kind, option, "finite and > 0", found)
}

pub(super) fn unit(kind: &'static str, option: &str, found: f64) -> Result<()> {
    ensure((0.0..=1.0).contains(&found), kind, option, "in [0, 1]", found)
}

/// An option that is one for all groups, or one for each.
///
/// ```
/// use fallline::schedule::PerGroup;
///
/// assert_eq!(PerGroup::from(0.1).get(7), 0.1);
/// assert_eq!(PerGroup::from([0.1, 0.01]).get(1), 0.01);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(untagged, expecting = "expected a number, or an array of one for each group")
)]
pub enum PerGroup {
    /// For all groups.
    All(f64),
    /// For each group, in the groups' order.
    Each(Vec<f64>),
}

impl PerGroup {
    /// That of a group; NaN, which no step takes, where there are fewer.
    #[must_use]
    pub fn get(&self, group: usize) -> f64 {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values.get(group).copied().unwrap_or(f64::NAN),
        }
    }

    /// Whether there are as many as groups, and each is in its range.
    pub(super) fn check(
        &self,
        kind: &'static str,
        option: &str,
        groups: usize,
        range: fn(&'static str, &str, f64) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::All(value) => range(kind, option, *value),
            Self::Each(values) => {
                let expected = || format!("one for each group, {groups} in all");
                ensure(values.len() == groups, kind, option, expected(), values.len())?;
                let mut named = values.iter().enumerate();
                named.try_for_each(|(i, value)| range(kind, &format!("{option}[{i}]"), *value))
            }
        }
    }
}

impl From<f64> for PerGroup {
    fn from(value: f64) -> Self {
        Self::All(value)
    }
}

impl From<Vec<f64>> for PerGroup {
    fn from(values: Vec<f64>) -> Self {
        Self::Each(values)
    }
}

impl From<&[f64]> for PerGroup {
    fn from(values: &[f64]) -> Self {
        Self::Each(values.to_vec())
    }
}

impl<const N: usize> From<[f64; N]> for PerGroup {
    fn from(values: [f64; N]) -> Self {
        Self::Each(values.to_vec())
    }
}

/// Which of some options are given.
pub(super) fn names(options: &[(&str, bool)]) -> String {
    let given: Vec<&str> =
        options.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.is_empty() { "none of them".to_owned() } else { given.join(" and ") }
}

/// Whether a rate that all groups end at is none that one would have to rise to.
pub(super) fn at_most_bases(
    kind: &'static str,
    option: &str,
    found: f64,
    base_lrs: &[f64],
) -> Result<()> {
    let lowest = base_lrs.iter().copied().fold(f64::INFINITY, f64::min);
    let expected = || format!("at most each group's learning rate, so <= {lowest}");
    ensure(found <= lowest, kind, option, expected(), found)
}
