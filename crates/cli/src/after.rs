//! What comes after a rule's updates, by the names that config files and command lines have for it.

use anyhow::{Result, ensure};
use fallline::{Group, Lookahead};
use serde::{Deserialize, Serialize};

const HEADING: &str = "After the rule";

/// Lookahead and an average of the parameters: options of several commands, keys of a config, fields of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct After {
    /// Lookahead: steps of the rule for one of the slow weights [default: none, 5 with an alpha]
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "STEPS",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    lookahead_k: Option<u32>,

    /// How far the slow weights follow, from 0 to 1 [default: none, 0.5 with a k]
    #[arg(long, help_heading = HEADING, value_name = "ALPHA", value_parser = part)]
    lookahead_alpha: Option<f64>,

    /// Keep an exponential moving average of the parameters, of this decay from 0 to 1
    #[arg(long, help_heading = HEADING, value_name = "DECAY", value_parser = part)]
    ema_decay: Option<f64>,
}

impl After {
    /// Its keys in a config.
    pub(crate) const KEYS: [&str; 3] = ["lookahead_k", "lookahead_alpha", "ema_decay"];

    /// What a group has.
    pub(crate) fn in_group(group: &Group) -> Self {
        Self {
            lookahead_k: group.lookahead.map(|lookahead| lookahead.k),
            lookahead_alpha: group.lookahead.map(|lookahead| lookahead.alpha),
            ema_decay: group.ema_decay,
        }
    }

    /// Whether each number is in its range.
    pub(crate) fn check(&self) -> Result<()> {
        let [k, alpha, decay] = Self::KEYS;
        ensure!(self.lookahead_k != Some(0), "{k} must be >= 1, found 0");
        for (key, value) in [(alpha, self.lookahead_alpha), (decay, self.ema_decay)] {
            if let Some(value) = value {
                ensure!(is_part(value), "{key} must be in [0, 1], found {value}");
            }
        }
        Ok(())
    }

    /// With another's word where it says nothing itself.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            lookahead_k: self.lookahead_k.or(other.lookahead_k),
            lookahead_alpha: self.lookahead_alpha.or(other.lookahead_alpha),
            ema_decay: self.ema_decay.or(other.ema_decay),
        }
    }

    /// With the default for what is not said of Lookahead, if anything is.
    pub(crate) fn with_defaults(self) -> Self {
        let (k, alpha) = self.lookahead().map(|l| (l.k, l.alpha)).unzip();
        Self { lookahead_k: k, lookahead_alpha: alpha, ..self }
    }

    /// Lookahead with its default for what is not said, if anything is.
    fn lookahead(self) -> Option<Lookahead> {
        let Self { lookahead_k: k, lookahead_alpha: alpha, .. } = self;
        let Lookahead { k: default_k, alpha: default_alpha, .. } = Lookahead::default();
        let any = k.is_some() || alpha.is_some();
        any.then(|| Lookahead::new(k.unwrap_or(default_k), alpha.unwrap_or(default_alpha)))
    }

    /// The group with this after its rule.
    pub(crate) fn of(self, mut group: Group) -> Group {
        group.lookahead = self.lookahead();
        group.ema_decay = self.ema_decay;
        group
    }

    /// Whether there is an average.
    pub(crate) fn averages(self) -> bool {
        self.ema_decay.is_some()
    }

    /// In words, if there is anything.
    pub(crate) fn in_words(self) -> Option<String> {
        let lookahead = self
            .lookahead()
            .map(|Lookahead { k, alpha, .. }| format!("lookahead with k {k} and alpha {alpha}"));
        let average = self.ema_decay.map(|decay| format!("an average of decay {decay}"));
        let parts: Vec<String> = lookahead.into_iter().chain(average).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn is_part(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if is_part(value) => Ok(value),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fallline::AdamW;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        after: After,
    }

    fn parse(line: &str) -> Result<After, clap::Error> {
        let arguments = ["command"].into_iter().chain(line.split_whitespace());
        Command::try_parse_from(arguments).map(|command| command.after)
    }

    fn group(line: &str) -> Group {
        parse(line).unwrap().of(Group::new("all", AdamW::new()))
    }

    #[test]
    fn of_lookahead_one_number_is_enough() {
        let lookahead = |line| group(line).lookahead.map(|l| (l.k, l.alpha));
        assert_eq!(lookahead(""), None);
        assert_eq!(lookahead("--ema-decay 0.9"), None);
        assert_eq!(lookahead("--lookahead-k 7"), Some((7, 0.5)));
        assert_eq!(lookahead("--lookahead-alpha 0.8"), Some((5, 0.8)));
        assert_eq!(lookahead("--lookahead-alpha 1 --lookahead-k 1"), Some((1, 1.0)));
        assert_eq!(group("--ema-decay 0.9").ema_decay, Some(0.9));
    }

    #[test]
    fn it_is_told_in_words_and_as_json() {
        let all = parse("--lookahead-k 3 --ema-decay 0.99").unwrap().with_defaults();
        assert_eq!(all, After::in_group(&group("--lookahead-k 3 --ema-decay 0.99")));
        let expected = "lookahead with k 3 and alpha 0.5, an average of decay 0.99";
        assert_eq!(all.in_words().unwrap(), expected);
        let json = serde_json::json!({
            "lookahead_k": 3, "lookahead_alpha": 0.5, "ema_decay": 0.99,
        });
        assert_eq!(serde_json::to_value(all).unwrap(), json);
        assert_eq!(After::default().in_words(), None);
    }

    #[test]
    fn numbers_have_a_range() {
        for line in [
            "--lookahead-k 0",
            "--lookahead-k=-1",
            "--lookahead-k 1.5",
            "--lookahead-alpha 1.1",
            "--lookahead-alpha nan",
            "--ema-decay=-0.1",
            "--ema-decay inf",
        ] {
            parse(line).unwrap_err();
        }
        let says = |after: After| after.check().unwrap_err().to_string();
        let none = After::default();
        assert_eq!(
            says(After { lookahead_k: Some(0), ..none }),
            "lookahead_k must be >= 1, found 0"
        );
        let alpha = After { lookahead_alpha: Some(2.0), ..none };
        assert_eq!(says(alpha), "lookahead_alpha must be in [0, 1], found 2");
        let decay = After { ema_decay: Some(f64::NAN), ..none };
        assert_eq!(says(decay), "ema_decay must be in [0, 1], found NaN");
    }
}
