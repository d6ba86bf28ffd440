//! What a group has around its rule, by the names that config files and command lines have for it.

mod choice;

use anyhow::{Result, ensure};
use fallline::{Group, Lookahead, Swa};
use serde::{Deserialize, Serialize};

pub(crate) use self::choice::Choice;

const HEADING: &str = "Around the rule";

/// Caution, limits, Lookahead, averages: options of several commands, keys of a config, fields of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Around {
    /// Follow the rule's direction only where the gradient has its sign
    #[arg(long, help_heading = HEADING, num_args = 0, default_missing_value = "true")]
    caution: Option<bool>,

    /// Decay weights only where the direction does not work against it
    #[arg(long, help_heading = HEADING, num_args = 0, default_missing_value = "true")]
    cautious_decay: Option<bool>,

    /// The largest root mean square of a tensor's direction
    #[arg(long, help_heading = HEADING, value_name = "RMS", value_parser = rms)]
    update_clipping: Option<Choice<f64>>,

    /// Lookahead: steps of the rule for one of the slow weights [default: none, 5 with an alpha]
    #[arg(long, help_heading = HEADING, value_name = "STEPS", value_parser = count)]
    lookahead_k: Option<Choice<u32>>,

    /// How far the slow weights follow, from 0 to 1 [default: none, 0.5 with a k]
    #[arg(long, help_heading = HEADING, value_name = "ALPHA", value_parser = part)]
    lookahead_alpha: Option<Choice<f64>>,

    /// Keep an exponential moving average of the parameters, of this decay from 0 to 1
    #[arg(long, help_heading = HEADING, value_name = "DECAY", value_parser = part)]
    ema_decay: Option<Choice<f64>>,

    /// Let it follow closely at first
    #[arg(long, help_heading = HEADING, num_args = 0, default_missing_value = "true")]
    ema_warmup: Option<bool>,

    /// Keep the equal average of the parameters after some steps, from this one on [default: none, 1 with --swa-every]
    #[arg(long, help_heading = HEADING, value_name = "STEP", value_parser = count)]
    swa_start: Option<Choice<u32>>,

    /// Steps from one of these to the next [default: none, 1 with --swa-start]
    #[arg(long, help_heading = HEADING, value_name = "STEPS", value_parser = count)]
    swa_every: Option<Choice<u32>>,
}

impl Around {
    /// Its keys in a config.
    pub(crate) const KEYS: [&str; 9] = [
        "caution",
        "cautious_decay",
        "update_clipping",
        "lookahead_k",
        "lookahead_alpha",
        "ema_decay",
        "ema_warmup",
        "swa_start",
        "swa_every",
    ];

    /// What a group has.
    pub(crate) fn in_group(group: &Group) -> Self {
        let (k, alpha) = group.lookahead.map(|l| (Choice::On(l.k), Choice::On(l.alpha))).unzip();
        let (start, every) =
            group.swa.map(|swa| (Choice::On(swa.start), Choice::On(swa.every))).unzip();
        Self {
            caution: Some(group.caution),
            cautious_decay: Some(group.cautious_decay),
            update_clipping: group.update_clipping.map(Choice::On),
            lookahead_k: k,
            lookahead_alpha: alpha,
            ema_decay: group.ema_decay.map(Choice::On),
            ema_warmup: Some(group.ema_warmup),
            swa_start: start,
            swa_every: every,
        }
    }

    /// Whether each number is in its range.
    pub(crate) fn check(&self) -> Result<()> {
        for (key, value) in [
            ("lookahead_k", self.lookahead_k),
            ("swa_start", self.swa_start),
            ("swa_every", self.swa_every),
        ] {
            ensure!(value != Some(Choice::On(0)), "{key} must be >= 1, found 0");
        }
        for (key, value) in
            [("lookahead_alpha", self.lookahead_alpha), ("ema_decay", self.ema_decay)]
        {
            if let Some(Choice::On(value)) = value {
                ensure!(is_part(value), "{key} must be in [0, 1], found {value}");
            }
        }
        if let Some(Choice::On(rms)) = self.update_clipping {
            ensure!(is_rms(rms), "update_clipping must be finite and > 0, found {rms}");
        }
        Ok(())
    }

    /// With another's word where it says nothing itself. Of two kinds of average its own counts.
    pub(crate) fn or(self, other: Self) -> Self {
        let on = |choice: Option<Choice<u32>>| matches!(choice, Some(Choice::On(_)));
        let own_swa = on(self.swa_start) || on(self.swa_every);
        let own_ema = matches!(self.ema_decay, Some(Choice::On(_)));
        let no_ema = self.ema_decay == Some(Choice::Off) || own_swa;
        Self {
            caution: self.caution.or(other.caution),
            cautious_decay: self.cautious_decay.or(other.cautious_decay),
            update_clipping: self.update_clipping.or(other.update_clipping),
            lookahead_k: self.lookahead_k.or(other.lookahead_k),
            lookahead_alpha: self.lookahead_alpha.or(other.lookahead_alpha),
            ema_decay: self.ema_decay.or(other.ema_decay.filter(|_| !no_ema)),
            ema_warmup: self.ema_warmup.or(other.ema_warmup.filter(|_| !no_ema)),
            swa_start: self.swa_start.or(other.swa_start.filter(|_| !own_ema)),
            swa_every: self.swa_every.or(other.swa_every.filter(|_| !own_ema)),
        }
    }

    /// With the default for what is not said.
    pub(crate) fn with_defaults(self) -> Self {
        Self::in_group(&self.of(Group::new("", fallline::Sgd::new())))
    }

    /// Lookahead with its default for what is not said, if anything is; either of its numbers switches it off.
    fn lookahead(self) -> Option<Lookahead> {
        let Lookahead { k, alpha, .. } = Lookahead::default();
        let (k, alpha) = choice::both((self.lookahead_k, k), (self.lookahead_alpha, alpha))?;
        Some(Lookahead::new(k, alpha))
    }

    /// As Lookahead.
    fn swa(self) -> Option<Swa> {
        let Swa { start, every, .. } = Swa::default();
        let (start, every) = choice::both((self.swa_start, start), (self.swa_every, every))?;
        Some(Swa::new(start, every))
    }

    /// The group with this around its rule.
    pub(crate) fn of(self, mut group: Group) -> Group {
        group.caution = self.caution.unwrap_or_default();
        group.cautious_decay = self.cautious_decay.unwrap_or_default();
        group.update_clipping = self.update_clipping.and_then(Choice::on);
        group.lookahead = self.lookahead();
        group.ema_decay = self.ema_decay.and_then(Choice::on);
        group.ema_warmup = self.ema_warmup.unwrap_or_default();
        group.swa = self.swa();
        group
    }

    /// Whether there is an average.
    pub(crate) fn averages(self) -> bool {
        self.ema_decay.and_then(Choice::on).is_some() || self.swa().is_some()
    }

    /// Whether there is one that changes in every step.
    pub(crate) fn averages_every_step(self) -> bool {
        self.averages() && self.swa().is_none_or(|swa| swa.every == 1)
    }

    /// Whether something is summed over whole tensors for it.
    pub(crate) fn sums(self) -> bool {
        self.caution == Some(true) || self.update_clipping.and_then(Choice::on).is_some()
    }

    /// In words, if there is anything.
    pub(crate) fn in_words(self) -> Option<String> {
        let caution = (self.caution == Some(true)).then(|| "caution".to_owned());
        let decay = (self.cautious_decay == Some(true)).then(|| "cautious decay".to_owned());
        let clipping = self.update_clipping.and_then(Choice::on);
        let clipping = clipping.map(|rms| format!("directions of an RMS of at most {rms}"));
        let lookahead = self
            .lookahead()
            .map(|Lookahead { k, alpha, .. }| format!("lookahead with k {k} and alpha {alpha}"));
        let warmup = if self.ema_warmup == Some(true) { " with warm-up" } else { "" };
        let average = self.ema_decay.and_then(Choice::on);
        let average = average.map(|decay| format!("an average of decay {decay}{warmup}"));
        let equal = self.swa().map(|Swa { start, every, .. }| match every {
            1 => format!("an equal average from step {start} on"),
            _ => format!("an equal average from step {start} on, every {every} steps"),
        });
        let parts = [caution, decay, clipping, lookahead, average, equal];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn is_part(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn is_rms(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

fn part(text: &str) -> Result<Choice<f64>, String> {
    match text.parse() {
        Ok(value) if is_part(value) => Ok(Choice::On(value)),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

fn rms(text: &str) -> Result<Choice<f64>, String> {
    match text.parse() {
        Ok(value) if is_rms(value) => Ok(Choice::On(value)),
        _ => Err("must be a number > 0".into()),
    }
}

fn count(text: &str) -> Result<Choice<u32>, String> {
    match text.parse() {
        Ok(value) if value > 0 => Ok(Choice::On(value)),
        _ => Err(format!("must be a whole number from 1 to {}", u32::MAX)),
    }
}

#[cfg(test)]
mod tests;
