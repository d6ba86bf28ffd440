//! Rules by name, with their default hyperparameters.

use clap::ValueEnum;
use fallline::{Adam, AdamW, Lion, Rule, Sgd};

/// The rules that a command can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuleName {
    Adamw,
    Adam,
    Sgd,
    Lion,
}

impl RuleName {
    /// The rule with the reference implementation's defaults.
    pub(crate) fn rule(self) -> Rule {
        match self {
            RuleName::Adamw => AdamW::default().into(),
            RuleName::Adam => Adam::default().into(),
            RuleName::Sgd => Sgd::default().into(),
            RuleName::Lion => Lion::default().into(),
        }
    }
}

impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.rule().name())
    }
}
