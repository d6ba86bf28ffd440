//! What was found against what was recorded.

use std::fmt;

use anyhow::{Context, ensure};
use fallline::Optimizer;
use fallline_reference::ulp;
use serde_json::json;

use super::trace::{self, Trace};
use crate::device::AdapterReport;

/// A value passes if `|found - expected| <= atol + rtol * |expected|`, as in torch.allclose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    rtol: f64,
    atol: f64,
}

impl Tolerance {
    pub(crate) fn new(rtol: f64, atol: f64) -> anyhow::Result<Self> {
        for (name, value) in [("--rtol", rtol), ("--atol", atol)] {
            ensure!(
                value.is_finite() && value >= 0.0,
                "{name} must be finite and >= 0, found {value}"
            );
        }
        Ok(Self { rtol, atol })
    }
}

/// How far one tensor is from what was recorded.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// `param/<name>` or `state/<slot>/<name>`.
    name: String,
    elements: usize,
    max_abs: f64,
    max_rel: f64,
    max_ulp: u32,
    passed: bool,
}

/// Whether the engine keeps every state that the trace has expectations of.
pub(crate) fn check(optimizer: &Optimizer, trace: &Trace<'_>) -> anyhow::Result<()> {
    for (slot, name, _) in &trace.expected {
        let id = optimizer.id(name).context("every expectation has its parameter")?;
        let rule = optimizer.group_of(id)?.rule;
        if let Some(slot) = slot {
            ensure!(
                rule.slots().contains(&slot.as_str()),
                "tensor 'expect_state/{slot}/{name}': {} keeps {:?} and no '{slot}'",
                rule.name(),
                rule.slots()
            );
        }
    }
    Ok(())
}

/// Compares everything that the trace has expectations of.
pub(crate) fn all(
    optimizer: &Optimizer,
    trace: &Trace<'_>,
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (slot, name, view) in &trace.expected {
        let id = optimizer.id(name).context("every expectation has its parameter")?;
        let (name, found) = match slot {
            None => (format!("param/{name}"), optimizer.read_param(id)?),
            Some(slot) => (format!("state/{slot}/{name}"), optimizer.read_state(id, slot)?),
        };
        differences.push(difference(name, &found, &trace::values(view), tolerance));
    }
    Ok(differences)
}

fn difference(name: String, found: &[f32], expected: &[f32], tolerance: Tolerance) -> Difference {
    let mut worst =
        Difference { name, elements: expected.len(), passed: true, ..Difference::default() };
    for (&found, &expected) in found.iter().zip(expected) {
        // Infinities of the same sign and two NaN agree, though their difference is NaN.
        if ulp::distance(found, expected) == 0 {
            continue;
        }
        let (found64, expected64) = (f64::from(found), f64::from(expected));
        let abs = (found64 - expected64).abs();
        let abs = if abs.is_nan() { f64::INFINITY } else { abs };
        worst.max_abs = worst.max_abs.max(abs);
        // By the larger of both, so that it is a number also where the expectation is 0.
        worst.max_rel = worst.max_rel.max(abs / expected64.abs().max(found64.abs()));
        worst.max_ulp = worst.max_ulp.max(ulp::distance(found, expected));
        let bound = tolerance.atol + tolerance.rtol * expected64.abs();
        worst.passed &= abs.is_finite() && abs <= bound;
    }
    worst
}

/// The whole report.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) adapter: AdapterReport,
    pub(crate) rule: &'static str,
    pub(crate) steps: u32,
    pub(crate) tolerance: Tolerance,
    pub(crate) tensors: Vec<Difference>,
}

impl Report {
    pub(crate) fn passed(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.passed)
    }

    /// Differences that are not finite become null: JSON has no word for them.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let tensor = |t: &Difference| {
            json!({
                "name": t.name,
                "elements": t.elements,
                "max_abs": t.max_abs,
                "max_rel": t.max_rel,
                "max_ulp": t.max_ulp,
                "passed": t.passed,
            })
        };
        json!({
            "adapter": self.adapter,
            "rule": self.rule,
            "steps": self.steps,
            "rtol": self.tolerance.rtol,
            "atol": self.tolerance.atol,
            "passed": self.passed(),
            "tensors": self.tensors.iter().map(tensor).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdapterReport { name, backend, driver } = &self.adapter;
        writeln!(f, "{name}, {backend}, {driver}")?;
        writeln!(f, "{} steps of {}", self.steps, self.rule)?;
        if self.tensors.is_empty() {
            return writeln!(f, "nothing to compare: the trace has no expectations");
        }
        let width = self.tensors.iter().map(|t| t.name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            f,
            "{:width$}  {:>9}  {:>9}  {:>9}  {:>10}",
            "tensor", "elements", "max_abs", "max_rel", "max_ulp"
        )?;
        for t in &self.tensors {
            let verdict = if t.passed { "" } else { "  beyond tolerance" };
            writeln!(
                f,
                "{:width$}  {:>9}  {:>9.2e}  {:>9.2e}  {:>10}{verdict}",
                t.name, t.elements, t.max_abs, t.max_rel, t.max_ulp
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
