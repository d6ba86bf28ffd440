//! The rules, as a list.

use anyhow::Result;
use clap::ValueEnum;
use fallline::{Slot, TensorSpec, deserialize_rule, rule_reference};
use serde::Serialize;
use serde_json::Value;

use crate::{Outcome, output::Output, print, rule::RuleName, train::recipe};

#[derive(Debug, Serialize)]
struct Listed {
    rule: &'static str,
    reference: &'static str,
    /// The options with which `fallline train` trains weights, where they are not the reference's defaults.
    train: Value,
    /// With these options, beside a matrix.
    slots: Vec<Slot>,
}

impl Listed {
    fn new(name: RuleName) -> Result<Self> {
        let train = recipe::of_weights(name);
        let rule = deserialize_rule(name.as_str(), &train)?;
        let reference = rule_reference(name.as_str()).unwrap_or("-");
        let slots = rule.slots(&TensorSpec::new("matrix", [64, 64]));
        Ok(Self { rule: name.as_str(), reference, train, slots })
    }

    fn cells(&self) -> Vec<String> {
        let slots: Vec<&str> = self.slots.iter().map(|slot| slot.name).collect();
        let options = self.train.as_object().into_iter().flatten();
        let train: Vec<String> = options.map(|(name, value)| format!("{name}={value}")).collect();
        vec![self.rule.to_owned(), self.reference.to_owned(), slots.join(" "), train.join(" ")]
    }
}

/// Prints them, and writes them to a file. Needs no device.
pub(super) fn list(json: Option<Output>) -> Result<Outcome> {
    let names = RuleName::value_variants().iter();
    let rules = names.map(|name| Listed::new(*name)).collect::<Result<Vec<_>>>()?;
    let head = ["rule", "numbers of", "keeps", "train"];
    print::print(print::table(&head, rules.iter().map(Listed::cells)))?;
    if let Some(json) = json {
        json.write_json(&rules)?;
    }
    Ok(Outcome::Good)
}
