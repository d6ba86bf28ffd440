//! The recorded run: a safetensors file with names of a fixed form.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use fallline::TensorSpec;
use safetensors::{Dtype, tensor::TensorView};

use crate::tensorfile::{self, Contents};

/// A trace, checked: every gradient and expectation belongs to a parameter and has its shape.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    /// Initial parameters.
    pub(crate) params: BTreeMap<String, TensorView<'a>>,
    /// Gradients by step, then by name.
    pub(crate) grads: BTreeMap<u32, BTreeMap<String, TensorView<'a>>>,
    /// Estimates of the Hessian's diagonal before a step, by that step, then by name.
    pub(crate) hessians: BTreeMap<u32, BTreeMap<String, TensorView<'a>>>,
    /// Learning rates by step: the base's, or one for each group.
    pub(crate) lrs: BTreeMap<u32, Vec<f64>>,
    /// What to compare with at the end.
    pub(crate) expected: Vec<Expected<'a>>,
    /// Prodigy's d at the end, to compare with.
    pub(crate) estimate: Option<Vec<f32>>,
    /// What to compare with in every step.
    pub(crate) reports: BTreeMap<Measured, Vec<f32>>,
    /// The number of steps.
    pub(crate) steps: u32,
}

/// What a tensor should be at the end.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    /// The tensor's name in the trace.
    pub(crate) key: String,
    pub(crate) what: What,
    /// The parameter's name.
    pub(crate) name: String,
    pub(crate) view: TensorView<'a>,
}

#[derive(Debug)]
pub(crate) enum What {
    Param,
    /// Where the parameter is evaluated.
    Eval,
    Master,
    /// The slot's name.
    State(String),
}

/// What the engine measures in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measured {
    Norm,
    Scale,
    Skipped,
}

impl Measured {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Norm => "norm",
            Self::Scale => "scale",
            Self::Skipped => "skipped",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Norm, Self::Scale, Self::Skipped].into_iter().find(|known| known.name() == name)
    }
}

impl<'a> Trace<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let mut trace = Self::default();
        for (key, view) in Contents::parse(bytes)?.tensors {
            trace.add(&key, view).with_context(|| format!("tensor '{key}'"))?;
        }
        ensure!(!trace.params.is_empty(), "no tensor 'param/<name>'");
        let last_grad = trace.grads.keys().last().copied().unwrap_or(0);
        trace.steps = trace.lrs.keys().last().copied().unwrap_or(0).max(last_grad);
        trace.check()?;
        trace.check_gaps()?;
        Ok(trace)
    }

    /// The tensors, in the order of their names, each in its formats.
    pub(crate) fn specs(&self) -> anyhow::Result<Vec<TensorSpec>> {
        let spec = |(name, param): (&String, &TensorView<'_>)| {
            let spec =
                TensorSpec::new(name, param.shape()).dtype(tensorfile::dtype(param.dtype())?);
            Ok(match self.grads.values().find_map(|grads| grads.get(name)) {
                None => spec,
                Some(grad) => spec.grad_dtype(tensorfile::dtype(grad.dtype())?),
            })
        };
        self.params.iter().map(spec).collect()
    }

    fn add(&mut self, key: &str, view: TensorView<'a>) -> anyhow::Result<()> {
        if key == ESTIMATE {
            in_f32(&view)?;
            let values = tensorfile::values(&view)?;
            ensure!(values.len() == 1, "must be one number, found shape {:?}", view.shape());
            self.estimate = Some(values);
            return Ok(());
        }
        let (kind, rest) = key.split_once('/').context(NAMES)?;
        let mut expect = |what, name: &str, view| {
            self.expected.push(Expected { key: key.to_owned(), what, name: name.to_owned(), view });
        };
        ensure!(!rest.is_empty(), NAMES);
        match kind {
            "param" => {
                tensorfile::dtype(view.dtype())?;
                self.params.insert(rest.to_owned(), view);
            }
            "grad" => {
                tensorfile::dtype(view.dtype())?;
                let (t, name) = rest.split_once('/').context(NAMES)?;
                self.grads.entry(step(t)?).or_default().insert(name.to_owned(), view);
            }
            "hessian" => {
                tensorfile::dtype(view.dtype())?;
                let (t, name) = rest.split_once('/').context(NAMES)?;
                self.hessians.entry(step(t)?).or_default().insert(name.to_owned(), view);
            }
            "lr" => {
                in_f32(&view)?;
                ensure!(
                    view.shape().len() <= 1,
                    "must be one learning rate, or a vector of one for each group, found shape {:?}",
                    view.shape()
                );
                let rates: Vec<f64> =
                    tensorfile::values(&view)?.into_iter().map(f64::from).collect();
                for lr in &rates {
                    ensure!(lr.is_finite() && *lr >= 0.0, "must be finite and >= 0, found {lr}");
                }
                self.lrs.insert(step(rest)?, rates);
            }
            "expect" => {
                tensorfile::dtype(view.dtype())?;
                expect(What::Param, rest, view);
            }
            "expect_eval" => {
                tensorfile::dtype(view.dtype())?;
                expect(What::Eval, rest, view);
            }
            "expect_master" => {
                in_f32(&view)?;
                expect(What::Master, rest, view);
            }
            "expect_state" => {
                in_f32(&view)?;
                let (slot, name) = rest.split_once('/').context(NAMES)?;
                expect(What::State(slot.to_owned()), name, view);
            }
            "expect_average" => {
                in_f32(&view)?;
                expect(What::State("average".to_owned()), rest, view);
            }
            "expect_report" => {
                in_f32(&view)?;
                let what = Measured::of_name(rest).with_context(|| {
                    format!("a step reports norm, scale and skipped, found '{rest}'")
                })?;
                ensure!(
                    view.shape().len() == 1,
                    "must be a vector, found shape {:?}",
                    view.shape()
                );
                self.reports.insert(what, tensorfile::values(&view)?);
            }
            _ => bail!(NAMES),
        }
        Ok(())
    }

    /// Whether everything belongs to a parameter, has its shape, and a format that goes with it.
    fn check(&self) -> anyhow::Result<()> {
        let mut grads = BTreeMap::new();
        let all = [("grad", &self.grads), ("hessian", &self.hessians)];
        for (kind, (t, of_step)) in
            all.into_iter().flat_map(|(k, all)| all.iter().map(move |s| (k, s)))
        {
            for (name, view) in of_step {
                let key = || format!("tensor '{kind}/{t}/{name}'");
                self.param_of(name, view).with_context(key)?;
                let (of, first, dtype) = *grads.entry(name).or_insert((kind, t, view.dtype()));
                ensure!(
                    view.dtype() == dtype,
                    "{}: the dtype must be that of '{of}/{first}/{name}', {dtype:?}, found {:?}",
                    key(),
                    view.dtype()
                );
            }
        }
        if let Some((t, of_step)) = self.hessians.iter().find(|(t, _)| **t > self.steps) {
            let name = of_step.keys().next().map_or("", String::as_str);
            bail!("tensor 'hessian/{t}/{name}': the run has {} steps", self.steps);
        }
        for expected in &self.expected {
            let Expected { what, name, view, key } = expected;
            let key = || format!("tensor '{key}'");
            // A slot may have another shape than the parameter: the rule knows.
            let param = match what {
                What::State(_) => self.param(name),
                _ => self.param_of(name, view),
            };
            let dtype = param.with_context(key)?.dtype();
            ensure!(
                !matches!(what, What::Param | What::Eval)
                    || [Dtype::F32, dtype].contains(&view.dtype()),
                "{}: the dtype must be F32 or that of 'param/{name}', {dtype:?}, found {:?}",
                key(),
                view.dtype()
            );
        }
        for (what, values) in &self.reports {
            ensure!(
                values.len() == self.steps as usize,
                "tensor 'expect_report/{}': the shape must be [{}], a value for each step, found \
                 [{}]",
                what.name(),
                self.steps,
                values.len()
            );
        }
        Ok(())
    }

    /// Whether the run is made of gradients, and not of steps that have none.
    fn check_gaps(&self) -> anyhow::Result<()> {
        let mut last = 0;
        for (t, of_step) in &self.grads {
            let name = of_step.keys().next().map_or("", String::as_str);
            check_gap(last, t - 1, || format!("grad/{t}/{name}"))?;
            last = *t;
        }
        // What makes the run longer than its gradients is a learning rate.
        check_gap(last, self.steps, || format!("lr/{}", self.steps))
    }

    fn param(&self, name: &str) -> anyhow::Result<&TensorView<'a>> {
        self.params.get(name).with_context(|| format!("there is no 'param/{name}'"))
    }

    /// The parameter of this name, which must have the tensor's shape.
    fn param_of(&self, name: &str, view: &TensorView<'_>) -> anyhow::Result<&TensorView<'a>> {
        let param = self.param(name)?;
        ensure!(
            view.shape() == param.shape(),
            "the shape must be that of 'param/{name}', {:?}, found {:?}",
            param.shape(),
            view.shape()
        );
        Ok(param)
    }
}

/// How many steps in a row may have no gradient. Each takes its time and changes next to nothing: more
/// of them are rather a wrong number in a name than a run.
const MAX_GAP: u32 = 10_000;

/// Whether there are not too many steps behind `last` up to `end`; `key` is the tensor that needs them.
fn check_gap(last: u32, end: u32, key: impl Fn() -> String) -> anyhow::Result<()> {
    let gap = end - last;
    ensure!(
        gap <= MAX_GAP,
        "tensor '{}': steps {} to {end} have no gradient; at most {MAX_GAP} steps in a row may have \
         none, found {gap}",
        key(),
        last + 1
    );
    Ok(())
}

const NAMES: &str = "the name must be param/<name>, grad/<t>/<name>, hessian/<t>/<name>, \
                     lr/<t>, expect/<name>, \
                     expect_master/<name>, expect_state/<slot>/<name>, expect_average/<name>, \
                     expect_eval/<name>, expect_d \
                     or expect_report/<what>";

/// The name of the tensor with Prodigy's d.
pub(crate) const ESTIMATE: &str = "expect_d";

fn in_f32(view: &TensorView<'_>) -> anyhow::Result<()> {
    ensure!(view.dtype() == Dtype::F32, "the dtype must be F32, found {:?}", view.dtype());
    Ok(())
}

/// A step number, written as a plain decimal from 1 on.
fn step(text: &str) -> anyhow::Result<u32> {
    let t: u32 = text.parse().with_context(|| format!("'{text}' is not a step number"))?;
    ensure!(t > 0 && t.to_string() == text, "steps are numbered 1, 2, ..., found '{text}'");
    Ok(t)
}

#[cfg(test)]
mod tests;
