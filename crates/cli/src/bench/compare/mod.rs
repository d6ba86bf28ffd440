//! `fallline bench --compare`: an earlier result beside a later one.
//!
//! Rows are compared that are about the same, and nothing else is: what only one result has is named, and so is
//! whatever differs in how they were measured.

mod ratio;
mod results;

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};

pub(super) use self::results::{Key, Results};
use self::{
    ratio::{FEWEST_ROUNDS, HELD, Ratio, Verdict},
    results::{Known, On, Rounds},
};
use super::row::digits;
use crate::{exit::usage, print};

const HEAD: [&str; 8] = ["model", "rule", "of", "old", "new", "new/old", "interval", "differs"];

/// What is compared of a row.
const QUANTITIES: [Quantity; 3] = [
    Quantity { name: "ms/step", of: |rounds| &rounds.ms_per_step, less: "faster", more: "slower" },
    Quantity { name: "roofline", of: |rounds| &rounds.roofline, less: "lower", more: "higher" },
    Quantity { name: "copy", of: |rounds| &rounds.copy_gb_per_s, less: "lower", more: "higher" },
];

struct Quantity {
    name: &'static str,
    of: fn(&Rounds) -> &[Option<f64>],
    less: &'static str,
    more: &'static str,
}

/// The differences, as they are printed.
pub(super) fn text(old: &Results, new: &Results) -> Result<String> {
    let keys = new.keys();
    ensure_common(old, &keys, &format!("of {}", new.name))?;
    let common: Vec<&Key> = old.keys().into_iter().filter(|key| keys.contains(key)).collect();
    let mut text = format!("old: {}\nnew: {}\n", measured_on(old), measured_on(new));
    text += &conditions(old, new, &common);
    text = print::wrapped(&text);
    for (options, keys) in by_options(&common)? {
        let options = if options.is_empty() { "the defaults".to_owned() } else { options };
        text += &print::wrapped(&format!("\nWith {options}:\n"));
        let rows = keys.iter().flat_map(|key| lines(key, &rounds(old, key), &rounds(new, key)));
        text += &print::table(&HEAD, rows);
    }
    for (has, lacks) in [(old, new), (new, old)] {
        let (mut only, others) = (has.keys(), lacks.keys());
        only.retain(|key| !others.contains(key));
        if !only.is_empty() {
            text += &print::wrapped(&format!("\nOnly in {}:\n", has.name));
        }
        for key in only {
            text += &print::wrapped(&format!("  {}\n", spelled(key)?));
        }
    }
    Ok(text + "\n" + &print::wrapped(&legend()))
}

/// A line for each quantity, the first with the names.
fn lines(key: &Key, old: &Rounds, new: &Rounds) -> Vec<Vec<String>> {
    let mut names = [key.model.clone(), key.rule.clone()];
    let line = |quantity: &Quantity| {
        let named = [&names[..], &quantity.cells(old, new)].concat();
        names.fill(String::new());
        named
    };
    QUANTITIES.iter().map(line).collect()
}

/// Fails if no row of a result is about one of these.
pub(super) fn ensure_common(old: &Results, keys: &[&Key], name: &str) -> Result<()> {
    let found = old.keys();
    if keys.iter().any(|key| found.contains(key)) {
        return Ok(());
    }
    let list = |keys: &[&Key]| -> Result<String> {
        Ok(keys.iter().map(|key| spelled(key)).collect::<Result<Vec<_>>>()?.join("; "))
    };
    let (expected, found) = (list(keys)?, list(&found)?);
    let error =
        anyhow!("{} has none of the rows {name}: expected {expected}; found {found}", old.name);
    Err(usage(error))
}

/// A subject as it is typed.
fn spelled(key: &Key) -> Result<String> {
    let names = format!("--model {} --rule {}", key.model, key.rule);
    Ok([vec![names], key.options()?].concat().join(" "))
}

/// Subjects that have their options in common, by these.
fn by_options<'a>(keys: &[&'a Key]) -> Result<Vec<(String, Vec<&'a Key>)>> {
    let mut groups: Vec<(String, Vec<&Key>)> = Vec::new();
    for &key in keys {
        let options = key.options()?.join(" ");
        match groups.iter_mut().find(|(of, _)| *of == options) {
            Some((_, group)) => group.push(key),
            None => groups.push((options, vec![key])),
        }
    }
    Ok(groups)
}

/// The rounds of all rows about this.
fn rounds(results: &Results, key: &Key) -> Rounds {
    let mut rounds = Rounds::default();
    results.rows.iter().filter(|row| row.key == *key).for_each(|row| rounds.extend(&row.rounds));
    rounds
}

/// Its name, and what a row has of it.
type Condition = (&'static str, fn(&Known) -> String);

/// What rows were measured with: where it is not the same, it may be the reason of a difference.
const CONDITIONS: [Condition; 6] = [
    ("fallline", |row| format!("fallline {}", row.on.version)),
    ("adapter", |row| row.on.adapter.name.clone()),
    ("backend", |row| row.on.adapter.backend.clone()),
    ("driver", |row| row.on.adapter.driver.clone()),
    ("timing", |row| format!("timed by {}", row.on.timing)),
    ("model", |row| {
        let On { tensors, params, .. } = row.on;
        format!("{} of {tensors} tensors and {params} parameters", row.key.model)
    }),
];

/// All of it but the models, in one line.
fn measured_on(results: &Results) -> String {
    let rows = || results.rows.iter();
    let mut words: Vec<String> =
        CONDITIONS[..5].iter().map(|(_, of)| each(rows().map(of))).collect();
    words.push(each(rows().map(|row| format!("{} rounds", row.rounds.ms_per_step.len()))));
    format!("{}: {}", results.name, words.join(", "))
}

/// A line for each that is not the same in the rows that are compared.
fn conditions(old: &Results, new: &Results, keys: &[&Key]) -> String {
    let mut lines = String::new();
    for (what, of) in CONDITIONS {
        let of = |results: &Results| {
            each(results.rows.iter().filter(|row| keys.contains(&&row.key)).map(of))
        };
        let (old, new) = (of(old), of(new));
        if old != new {
            lines += &format!("Not the same {what}: {old}, and {new}\n");
        }
    }
    lines
}

/// Each of these once, whatever the order of the rows.
fn each(words: impl Iterator<Item = String>) -> String {
    let distinct: BTreeSet<String> = words.collect();
    distinct.into_iter().collect::<Vec<_>>().join("; ")
}

impl Quantity {
    fn cells(&self, old: &Rounds, new: &Rounds) -> [String; 6] {
        let ratio = Ratio::of((self.of)(old), (self.of)(new));
        let differs = match Verdict::of(ratio) {
            Verdict::Less => self.less,
            Verdict::More => self.more,
            Verdict::Within => "~",
            Verdict::TooFewRounds => "too few rounds",
            Verdict::Untimed => "not timed",
        };
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), digits);
        let interval = ratio.and_then(|ratio| ratio.interval);
        let interval = interval.map_or_else(
            || "-".to_owned(),
            |(low, high)| format!("{}..{}", self::ratio(low), self::ratio(high)),
        );
        [
            self.name.to_owned(),
            number(ratio.map(|ratio| ratio.old)),
            number(ratio.map(|ratio| ratio.new)),
            ratio.map_or_else(|| "-".to_owned(), |found| self::ratio(found.ratio)),
            interval,
            differs.to_owned(),
        ]
    }
}

/// A ratio near 1, in five characters at most where it is not.
fn ratio(value: f64) -> String {
    if value < 10.0 { format!("{value:.3}") } else { digits(value) }
}

fn legend() -> String {
    format!(
        "old, new: the rounds' medians, and copy that of a plain copy in GB/s. interval: {:.0} % of the ratios of medians \
         when the rounds of both are drawn anew (bootstrap). ~: 1 lies in it; fewer than {FEWEST_ROUNDS} rounds \
         have none. It holds nothing of what changes a whole run, as a clock rate or other work: where the copy \
         differs as the step does and the roofline does not, that was the machine.\n",
        HELD * 100.0,
    )
}
