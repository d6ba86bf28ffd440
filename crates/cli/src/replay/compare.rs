//! What was found against what was recorded.

use anyhow::{Context, ensure};
use fallline::{Dtype, Optimizer, Slot, SlotShape, StepReport, TensorId, TensorSpec};
use fallline_reference::ulp;

use super::{
    Replayed,
    trace::{ESTIMATE, Expected, Measured, Trace, What},
};
use crate::{config::Config, tensorfile};

/// A value passes if `|found - expected| <= atol + rtol * |expected|`, as in torch.allclose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(super) rtol: f64,
    pub(super) atol: f64,
}

impl Default for Tolerance {
    /// torch's for f32.
    fn default() -> Self {
        Self { rtol: 1.3e-6, atol: 1e-5 }
    }
}

impl Tolerance {
    /// Only the same value passes.
    const EXACT: Self = Self { rtol: 0.0, atol: 0.0 };

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
    /// `param/<name>`, `eval/<name>`, `master/<name>`, `state/<slot>/<name>`, `state/d` or `report/<what>`.
    pub(crate) name: String,
    pub(crate) elements: usize,
    pub(crate) max_abs: f64,
    /// Over all elements, those that agree too.
    pub(crate) mean_abs: f64,
    pub(crate) max_rel: f64,
    /// In numbers of the format in which the expectation is recorded.
    pub(crate) max_ulp: u32,
    pub(crate) passed: bool,
}

/// Whether the engine keeps and measures everything that the trace has expectations of.
pub(crate) fn check(
    optimizer: &Optimizer,
    config: &Config,
    trace: &Trace<'_>,
) -> anyhow::Result<()> {
    let specs: Vec<&TensorSpec> = optimizer.tensors().map(|(_, spec)| spec).collect();
    for expected in &trace.expected {
        let id = optimizer.id(&expected.name).context("every expectation has its parameter")?;
        let (spec, rule) = (specs[id.index()], &optimizer.group_of(id)?.rule);
        let key = &expected.key;
        match &expected.what {
            What::Param | What::Eval => {}
            What::Master => ensure!(
                super::keeps_master(spec),
                "tensor '{key}': the parameter is in {} with {}, without a master",
                spec.dtype,
                spec.precision.in_words()
            ),
            What::State(slot) => {
                let slots = optimizer.slots(id)?;
                let kept = slots.iter().find(|kept| kept.name == slot).with_context(|| {
                    let known = slots.iter().map(|slot| slot.name).collect::<Vec<_>>();
                    format!("tensor '{key}': {} keeps {known:?} and no '{slot}'", rule.name())
                })?;
                let (shape, found) = (kept.dims(&spec.shape), expected.view.shape());
                // References differ in whether they keep the dimensions that are averaged away.
                let averaged = match kept.shape {
                    SlotShape::Rows => shape.len().checked_sub(1),
                    SlotShape::Columns => shape.len().checked_sub(2),
                    _ => None,
                };
                let mut without = shape.clone();
                averaged.map(|dim| without.remove(dim));
                let long = |dims: &[usize]| -> Vec<usize> {
                    dims.iter().copied().filter(|dim| *dim != 1).collect()
                };
                let is_blocks = matches!(kept.shape, SlotShape::Blocks(_));
                ensure!(
                    shape == found
                        || without == found
                        || (is_blocks && long(&shape) == long(found)),
                    "tensor '{key}': the shape must be {shape:?}, found {found:?}"
                );
            }
        }
    }
    for (t, hessians) in &trace.hessians {
        for name in hessians.keys() {
            let id = optimizer.id(name).context("every estimate has its parameter")?;
            let rule = &optimizer.group_of(id)?.rule;
            ensure!(
                rule.takes_estimates(),
                "tensor 'hessian/{t}/{name}': {} takes no estimates of the Hessian",
                rule.name()
            );
        }
    }
    if trace.estimate.is_some() {
        let none =
            || format!("tensor '{ESTIMATE}': no tensor of the trace has a rule that keeps d");
        estimating(optimizer)?.with_context(none)?;
    }
    for what in trace.reports.keys() {
        let (needs, has) = match what {
            Measured::Norm => {
                ("[clip] norm, [loss_scale] or a group's clip_norm", config.measures())
            }
            Measured::Scale | Measured::Skipped => ("[loss_scale]", config.loss_scale.is_some()),
        };
        ensure!(has, "tensor 'expect_report/{}': the config has no {needs}", what.name());
    }
    Ok(())
}

/// The name of Prodigy's d among the slots.
const D: &str = "d";

/// A tensor whose rule estimates d. All that do so have the same.
fn estimating(optimizer: &Optimizer) -> anyhow::Result<Option<TensorId>> {
    for (id, _) in optimizer.tensors() {
        let is_d = |slot: &Slot| slot.name == D && slot.shape == SlotShape::Joint;
        if optimizer.slots(id)?.iter().any(is_d) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Compares everything that the trace has expectations of.
pub(crate) fn all(
    replayed: &Replayed,
    trace: &Trace<'_>,
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Difference>> {
    let optimizer = &replayed.optimizer;
    let mut differences = Vec::new();
    for Expected { what, name, view, .. } in &trace.expected {
        let id = optimizer.id(name).context("every expectation has its parameter")?;
        let (name, found) = match what {
            What::Param => (format!("param/{name}"), optimizer.read_param(id)?),
            What::Eval => (format!("eval/{name}"), replayed.evaluated[id.index()].clone()),
            What::Master => (format!("master/{name}"), optimizer.read_master(id)?),
            What::State(slot) => (format!("state/{slot}/{name}"), optimizer.read_state(id, slot)?),
        };
        let dtype = tensorfile::dtype(view.dtype())?;
        let expected = dtype.decode(view.data());
        differences.push(difference(name, dtype, &found, &expected, tolerance));
    }
    if let (Some(expected), Some(id)) = (&trace.estimate, estimating(optimizer)?) {
        let (name, found) = (format!("state/{D}"), optimizer.read_state(id, D)?);
        differences.push(difference(name, Dtype::F32, &found, expected, tolerance));
    }
    for (what, expected) in &trace.reports {
        let value = |report: &StepReport| match what {
            Measured::Norm => report.norm,
            Measured::Scale => report.loss_scale,
            Measured::Skipped => f32::from(u8::from(report.skipped)),
        };
        let found: Vec<f32> = replayed.reports.iter().map(value).collect();
        // Behind a checkpoint there are those of the last steps.
        let expected = &expected[expected.len().saturating_sub(found.len())..];
        let tolerance = if *what == Measured::Skipped { Tolerance::EXACT } else { tolerance };
        let name = format!("report/{}", what.name());
        differences.push(difference(name, Dtype::F32, &found, expected, tolerance));
    }
    Ok(differences)
}

fn difference(
    name: String,
    dtype: Dtype,
    found: &[f32],
    expected: &[f32],
    tolerance: Tolerance,
) -> Difference {
    let mut worst =
        Difference { name, elements: expected.len(), passed: true, ..Difference::default() };
    let mut sum_abs = 0.0;
    for (&found, &expected) in found.iter().zip(expected) {
        // Infinities of the same sign and two NaN agree, though their difference is NaN.
        if ulp::distance(found, expected) == 0 {
            continue;
        }
        let (found64, expected64) = (f64::from(found), f64::from(expected));
        let abs = (found64 - expected64).abs();
        let abs = if abs.is_nan() { f64::INFINITY } else { abs };
        worst.max_abs = worst.max_abs.max(abs);
        sum_abs += abs;
        // By the larger of both, so that it is a number also where the expectation is 0.
        // Infinity by infinity would be NaN, which `max` passes over.
        let rel = abs / expected64.abs().max(found64.abs());
        worst.max_rel = worst.max_rel.max(if rel.is_nan() { f64::INFINITY } else { rel });
        worst.max_ulp = worst.max_ulp.max(distance(dtype, found, expected));
        let bound = tolerance.atol + tolerance.rtol * expected64.abs();
        worst.passed &= abs.is_finite() && abs <= bound;
    }
    worst.mean_abs = sum_abs / expected.len().max(1) as f64;
    worst
}

/// How many numbers of the format lie between two of them, as [`ulp::distance`] counts those of f32.
fn distance(dtype: Dtype, a: f32, b: f32) -> u32 {
    if dtype.size_bytes() != 2 || a.is_nan() || b.is_nan() {
        return ulp::distance(a, b);
    }
    let ordinal = |value| {
        let code = dtype.code(value);
        let magnitude = (code & 0x7fff).cast_signed();
        if code >> 15 == 0 { magnitude } else { -magnitude }
    };
    ordinal(a).abs_diff(ordinal(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_the_format() {
        for (dtype, eps, smallest) in [
            (Dtype::F32, f32::EPSILON, f32::from_bits(1)),
            (Dtype::F16, f32::powi(2.0, -10), Dtype::F16.value(1)),
            (Dtype::Bf16, f32::powi(2.0, -7), Dtype::Bf16.value(1)),
        ] {
            assert_eq!(distance(dtype, 1.0, 1.0 + eps), 1, "{dtype}");
            assert_eq!(distance(dtype, smallest, -smallest), 2, "{dtype}");
            assert_eq!(distance(dtype, 0.0, -0.0), 0, "{dtype}");
            assert_eq!(distance(dtype, f32::NAN, -f32::NAN), 0, "{dtype}");
            assert_eq!(distance(dtype, f32::INFINITY, f32::NAN), u32::MAX, "{dtype}");
        }
        assert_eq!(distance(Dtype::F16, 65504.0, f32::INFINITY), 1);
    }

    #[test]
    fn what_is_not_finite_agrees_with_its_like_only() {
        let wide = Tolerance { rtol: 1e30, atol: 1e30 };
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, -65504.0];
        for &dtype in Dtype::ALL {
            for (i, found) in values.into_iter().enumerate() {
                for (j, expected) in values.into_iter().enumerate() {
                    // Behind and before elements that agree.
                    let (found, expected) = ([2.0, found, 2.0], [2.0, expected, 2.0]);
                    let it = difference("w".to_owned(), dtype, &found, &expected, wide);
                    let finite = i > 2 && j > 2;
                    assert_eq!(it.passed, i == j || finite, "{found:?} {expected:?}");
                    let infinite = i != j && !finite;
                    for distance in [it.max_abs, it.mean_abs, it.max_rel] {
                        assert_eq!(distance.is_infinite(), infinite, "{it:?} {expected:?}");
                        assert!(!distance.is_nan(), "{it:?} {expected:?}");
                    }
                    assert_eq!(it.max_ulp > 0, i != j, "{it:?} {expected:?}");
                }
            }
        }
    }

    #[test]
    fn nan_of_any_bits_agrees_with_nan() {
        let nans = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)];
        for (found, expected) in nans.iter().flat_map(|a| nans.iter().map(move |b| (*a, *b))) {
            let it = difference("w".into(), Dtype::F32, &[found], &[expected], Tolerance::EXACT);
            assert!(it.passed && it.max_abs == 0.0 && it.max_ulp == 0, "{it:?}");
        }
    }
}
