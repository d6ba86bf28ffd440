//! Who takes part: a rule by name, and its learning rate if it is given.

use std::{str::FromStr, sync::Arc};

use anyhow::{Context, bail, ensure};
use fallline::{Rule, Scope, deserialize_rule, serialize_rule};
use serde_json::{Value, json};

use crate::rule::RuleName;

/// Rules that are SGD with a momentum, as lectures name them.
const OF_SGD: [(&str, bool); 2] = [("momentum", false), ("nesterov", true)];

/// A rule, and its learning rate if that is not to be looked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entrant {
    pub(super) name: String,
    lr: Option<f64>,
}

impl Entrant {
    /// The learning rates to try: the given one, or 1, 2, 5 times each power of ten from 1e-4 to 10. A rule that looks
    /// at all tensors finds its own (Prodigy), and two of it would look at each other.
    pub(super) fn rates(&self) -> anyhow::Result<Vec<f64>> {
        let rule = self.rule(None)?;
        if let Some(lr) = self.lr {
            return Ok(vec![lr]);
        }
        if rule.scope() == Scope::Optimizer {
            return Ok(vec![rule.lr()]);
        }
        let decades = (-4..=1).map(|exponent| 10f64.powi(exponent));
        Ok(decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|n| n * decade)).collect())
    }

    /// The rule with its defaults, but for weight decay: it would move the minima.
    pub(super) fn rule(&self, lr: Option<f64>) -> anyhow::Result<Arc<dyn Rule>> {
        let of_sgd = OF_SGD.iter().find(|(name, _)| *name == self.name);
        let name = if of_sgd.is_some() { "sgd" } else { &self.name };
        let rule = RuleName::known(name).context("a rule of the engine")?.rule();
        let mut options = serialize_rule(rule.as_ref(), serde_json::value::Serializer)?;
        let mut set = |key: &str, value: Value| {
            // Where it is null (Adafactor's own learning rate), the rule finds it.
            if let Some(option) = options.get_mut(key).filter(|option| !option.is_null()) {
                *option = value;
            }
        };
        set("weight_decay", json!(0.0));
        if let Some(lr) = lr {
            set("lr", json!(lr));
        }
        if let Some((_, nesterov)) = of_sgd {
            set("momentum", json!(0.9));
            set("nesterov", json!(nesterov));
        }
        Ok(deserialize_rule(name, options)?)
    }
}

impl FromStr for Entrant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, lr) = match text.split_once('=') {
            Some((name, lr)) => (name, Some(lr)),
            None => (text, None),
        };
        if RuleName::known(name).is_none() && !OF_SGD.iter().any(|(of_sgd, _)| *of_sgd == name) {
            let rules = fallline::RULE_NAMES.join(", ");
            bail!(
                "no rule has this name; there are {rules}; and momentum, nesterov (sgd with one of 0.9)"
            );
        }
        let lr = lr.map(|lr| {
            let number = lr.parse().ok().filter(|lr: &f64| *lr > 0.0 && lr.is_finite());
            number.with_context(|| format!("a learning rate must be a number > 0, found {lr}"))
        });
        Ok(Self { name: name.to_owned(), lr: lr.transpose()? })
    }
}

/// Whether each name is there once.
pub(super) fn check(entrants: &[Entrant]) -> anyhow::Result<()> {
    for (index, Entrant { name, .. }) in entrants.iter().enumerate() {
        let twice = entrants[..index].iter().any(|other| other.name == *name);
        ensure!(!twice, "--rules names {name} twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fallline::Sgd;

    use super::*;

    #[test]
    fn every_rule_can_take_part_without_weight_decay() -> anyhow::Result<()> {
        for name in fallline::RULE_NAMES.iter().copied().chain(OF_SGD.map(|(name, _)| name)) {
            let entrant: Entrant = name.parse()?;
            let rule = entrant.rule(Some(0.25)).with_context(|| name.to_owned())?;
            assert!(rule.check().is_ok(), "{name}");
            assert!(!entrant.rates()?.is_empty());
            let options = serialize_rule(rule.as_ref(), serde_json::value::Serializer)?;
            assert!(options.get("weight_decay").is_none_or(|decay| *decay == json!(0.0)), "{name}");
            if options["lr"].is_number() {
                assert_eq!(rule.lr(), 0.25, "{name}");
            }
        }
        let nesterov = "nesterov=0.5".parse::<Entrant>()?.rule(None)?;
        let sgd: &Sgd = nesterov.downcast_ref().context("nesterov is sgd")?;
        assert!(sgd.nesterov && sgd.momentum == 0.9);
        Ok(())
    }

    #[test]
    fn what_cannot_race_is_named() {
        let message = |text: &str| text.parse::<Entrant>().unwrap_err().to_string();
        assert!(message("adamx").starts_with("no rule has this name; there are sgd, "));
        for text in ["adamw=", "adamw=0", "adamw=-1", "adamw=nan", "adamw=inf", "adamw=1=2"] {
            assert!(message(text).starts_with("a learning rate must be a number > 0"), "{text}");
        }
        let twice = ["adamw=1", "sgd", "adamw"].map(|text| text.parse().unwrap());
        assert_eq!(check(&twice).unwrap_err().to_string(), "--rules names adamw twice");
    }
}
