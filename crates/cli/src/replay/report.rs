//! What is printed and written about a replay.

use std::fmt;

use fallline::{Group, StateFormat, StepReport};
use serde_json::json;

use super::{
    Replayed,
    compare::{Difference, Tolerance},
};
use crate::{around::Around, config::Config, device::AdapterReport, print::escaped};

/// The whole report.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) adapter: AdapterReport,
    pub(crate) config: &'a Config,
    pub(crate) replayed: &'a Replayed,
    pub(crate) steps: u32,
    pub(crate) tolerance: Tolerance,
    pub(crate) tensors: Vec<Difference>,
}

impl Report<'_> {
    pub(crate) fn passed(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.passed)
    }

    /// The groups that there were, the base or its first part first.
    fn groups(&self) -> &[Group] {
        self.replayed.optimizer.groups()
    }

    /// In which formats the groups keep their state, if not all in f32.
    fn state(&self) -> Option<String> {
        let kept = |g: &Group| match g.state {
            StateFormat::F32 => "f32".to_owned(),
            state => format!("{state} from {} elements on", g.min_state_elems),
        };
        let parts = self.of_groups(kept);
        (parts != ["f32"]).then(|| format!("state: {}", parts.join(", ")))
    }

    /// What comes after the rules, if anything does.
    fn around(&self) -> Option<String> {
        let none = "nothing";
        let around = |g: &Group| Around::in_group(g).in_words().unwrap_or_else(|| none.to_owned());
        let parts = self.of_groups(around);
        (parts != [none]).then(|| format!("around the rule: {}", parts.join("; ")))
    }

    /// What is said of the base, and of each group of which something else is.
    fn of_groups(&self, say: impl Fn(&Group) -> String) -> Vec<String> {
        let groups = self.groups();
        let base = say(&groups[0]);
        let others = groups[1..].iter().map(|g| (say(g), &g.name)).filter(|(own, _)| *own != base);
        let others: Vec<String> = others.map(|(own, name)| format!("{own} of {name}")).collect();
        std::iter::once(base).chain(others).collect()
    }

    /// What was clipped and skipped, if anything could be.
    fn measures(&self) -> Option<String> {
        let reports = &self.replayed.reports;
        let count =
            |is: fn(&StepReport) -> bool| reports.iter().filter(|report| is(report)).count();
        let skipped = count(|report| report.skipped);

        let of_group = |(name, norm): (&String, f64)| format!("norm {norm} of {name}");
        let own = self.groups().iter().filter_map(|g| Some((&g.name, g.max_norm?)));
        let norm = self.config.clip.norm.map(|norm| format!("norm {norm}"));
        let mut clip: Vec<String> = norm.into_iter().chain(own.map(of_group)).collect();
        if !clip.is_empty() {
            // A factor of NaN counts too: it turns gradients into NaN.
            let clips = |report: &StepReport| {
                !report.skipped && report.clip_factor_per_group.iter().any(|factor| *factor != 1.0)
            };
            clip.push(format!("active in {} of {} steps", count(clips), reports.len() - skipped));
        }
        clip.extend(self.config.clip.value.map(|value| format!("value {value}")));

        let clip = (!clip.is_empty()).then(|| format!("clip: {}", clip.join(", ")));
        let scale = self.replayed.loss_scale.map(|scale| {
            let steps = reports.len();
            format!("loss scale: {scale} at the end, {skipped} of {steps} steps skipped")
        });
        let parts: Vec<String> = clip.into_iter().chain(scale).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// What is not finite becomes null: JSON has no word for it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let tensor = |t: &Difference| {
            json!({
                "name": t.name,
                "elements": t.elements,
                "max_abs": t.max_abs,
                "mean_abs": t.mean_abs,
                "max_rel": t.max_rel,
                "max_ulp": t.max_ulp,
                "passed": t.passed,
            })
        };
        let step = |r: &StepReport| {
            json!({
                "step": r.step,
                "norm": r.norm,
                "norm_per_group": r.norm_per_group,
                "clip_factor": r.clip_factor,
                "scale": r.loss_scale,
                "skipped": r.skipped,
            })
        };
        let group = |g: &Group| {
            json!({
                "name": g.name,
                "rule": g.rule.name(),
                "lr_scale": g.lr_scale,
                "state": g.state.to_string(),
                "min_state_elems": g.min_state_elems,
                "around": Around::in_group(g),
            })
        };
        let mut report = json!({
            "adapter": self.adapter,
            "rule": self.config.rule_name(),
            "groups": self.groups().iter().map(group).collect::<Vec<_>>(),
            "steps": self.steps,
            "rtol": self.tolerance.rtol,
            "atol": self.tolerance.atol,
            "passed": self.passed(),
            "tensors": self.tensors.iter().map(tensor).collect::<Vec<_>>(),
        });
        if self.config.measures() {
            report["report"] = self.replayed.reports.iter().map(step).collect();
        }
        report
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdapterReport { name, backend, driver } = &self.adapter;
        writeln!(f, "{name}, {backend}, {driver}")?;
        writeln!(f, "{} steps of {}", self.steps, self.config.rule_name())?;
        if let Some(state) = self.state() {
            writeln!(f, "{state}")?;
        }
        if let Some(around) = self.around() {
            writeln!(f, "{around}")?;
        }
        if let Some(measures) = self.measures() {
            writeln!(f, "{measures}")?;
        }
        if self.tensors.is_empty() {
            return writeln!(f, "nothing to compare: the trace has no expectations");
        }
        let names: Vec<_> = self.tensors.iter().map(|t| escaped(&t.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            f,
            "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>10}",
            "tensor", "elements", "max_abs", "mean_abs", "max_rel", "max_ulp"
        )?;
        for (name, t) in names.iter().zip(&self.tensors) {
            let verdict = if t.passed { "" } else { "  beyond tolerance" };
            writeln!(
                f,
                "{name:width$}  {:>9}  {:>9.2e}  {:>9.2e}  {:>9.2e}  {:>10}{verdict}",
                t.elements, t.max_abs, t.mean_abs, t.max_rel, t.max_ulp
            )?;
        }
        let failed = self.tensors.iter().filter(|t| !t.passed).count();
        let Tolerance { rtol, atol } = self.tolerance;
        let (verdict, count) = match failed {
            0 => ("pass", format!("all {} tensors", self.tensors.len())),
            _ => ("FAIL", format!("{} of {} tensors not", failed, self.tensors.len())),
        };
        writeln!(f, "{verdict}: {count} within rtol {rtol:e}, atol {atol:e}")
    }
}
