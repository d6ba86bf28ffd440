//! Rules by name, with their default hyperparameters.

use std::sync::{Arc, LazyLock};

use clap::{ValueEnum, builder::PossibleValue};
use fallline::{RULE_NAMES, Rule, rule_by_name};
use serde::Deserialize;

/// One of the engine's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleName(&'static str);

impl RuleName {
    pub(crate) const ADAMW: Self = Self("adamw");

    /// The rule of this name, if there is one.
    pub(crate) fn known(name: &str) -> Option<Self> {
        RULE_NAMES.iter().find(|known| **known == name).map(|name| Self(name))
    }

    /// Its place among all rules.
    pub(crate) fn index(self) -> usize {
        RULE_NAMES.iter().position(|known| *known == self.0).unwrap_or(0)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        self.0
    }

    /// The rule with the reference implementation's defaults.
    pub(crate) fn rule(self) -> Arc<dyn Rule> {
        rule_by_name(self.0).expect("a name of the catalog")
    }
}

impl ValueEnum for RuleName {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<RuleName>> =
            LazyLock::new(|| RULE_NAMES.iter().copied().map(RuleName).collect());
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0))
    }
}

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::known(&name)
            .ok_or_else(|| <D::Error as serde::de::Error>::unknown_variant(&name, RULE_NAMES))
    }
}

impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
