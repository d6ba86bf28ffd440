//! The recorded run: a safetensors file with names of a fixed form.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// A trace, checked: every gradient and expectation belongs to a parameter and has its shape.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    /// Initial parameters.
    pub(crate) params: BTreeMap<String, TensorView<'a>>,
    /// Gradients by step, then by name.
    pub(crate) grads: BTreeMap<u32, BTreeMap<String, TensorView<'a>>>,
    /// Base learning rates by step.
    pub(crate) lrs: BTreeMap<u32, f64>,
    /// What to compare with: the slot (`None`: the parameter), the name, the values.
    pub(crate) expected: Vec<(Option<String>, String, TensorView<'a>)>,
    /// The number of steps.
    pub(crate) steps: u32,
}

impl<'a> Trace<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .with_context(|| format!("not a whole safetensors file: {}", fault(bytes)))?;
        let mut tensors = file.tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let mut trace = Self::default();
        for (key, view) in tensors {
            trace.add(&key, view).with_context(|| format!("tensor '{key}'"))?;
        }
        ensure!(!trace.params.is_empty(), "no tensor 'param/<name>'");
        trace.check()?;
        let last_grad = trace.grads.keys().last().copied().unwrap_or(0);
        trace.steps = trace.lrs.keys().last().copied().unwrap_or(0).max(last_grad);
        Ok(trace)
    }

    fn add(&mut self, key: &str, view: TensorView<'a>) -> anyhow::Result<()> {
        ensure!(view.dtype() == Dtype::F32, "the dtype must be F32, found {:?}", view.dtype());
        let (kind, rest) = key.split_once('/').context(NAMES)?;
        ensure!(!rest.is_empty(), NAMES);
        match kind {
            "param" => {
                self.params.insert(rest.to_owned(), view);
            }
            "grad" => {
                let (t, name) = rest.split_once('/').context(NAMES)?;
                self.grads.entry(step(t)?).or_default().insert(name.to_owned(), view);
            }
            "lr" => {
                let lr = values(&view);
                ensure!(
                    lr.len() == 1,
                    "a learning rate is one f32, found shape {:?}",
                    view.shape()
                );
                let lr = f64::from(lr[0]);
                ensure!(lr.is_finite() && lr >= 0.0, "must be finite and >= 0, found {lr}");
                self.lrs.insert(step(rest)?, lr);
            }
            "expect" => self.expected.push((None, rest.to_owned(), view)),
            "expect_state" => {
                let (slot, name) = rest.split_once('/').context(NAMES)?;
                self.expected.push((Some(slot.to_owned()), name.to_owned(), view));
            }
            _ => bail!(NAMES),
        }
        Ok(())
    }

    /// Whether everything belongs to a parameter and has its shape.
    fn check(&self) -> anyhow::Result<()> {
        let check = |key: &dyn Fn() -> String, name: &str, view: &TensorView<'_>| {
            let Some(param) = self.params.get(name) else {
                bail!("tensor '{}': there is no 'param/{name}'", key());
            };
            ensure!(
                view.shape() == param.shape(),
                "tensor '{}': the shape must be that of 'param/{name}', {:?}, found {:?}",
                key(),
                param.shape(),
                view.shape()
            );
            Ok(())
        };
        for (t, grads) in &self.grads {
            for (name, view) in grads {
                check(&|| format!("grad/{t}/{name}"), name, view)?;
            }
        }
        for (slot, name, view) in &self.expected {
            let key = || match slot {
                None => format!("expect/{name}"),
                Some(slot) => format!("expect_state/{slot}/{name}"),
            };
            check(&key, name, view)?;
        }
        Ok(())
    }
}

const NAMES: &str = "the name must be param/<name>, grad/<t>/<name>, lr/<t>, expect/<name> or \
                     expect_state/<slot>/<name>";

/// A step number, written as a plain decimal from 1 on.
fn step(text: &str) -> anyhow::Result<u32> {
    let t: u32 = text.parse().with_context(|| format!("'{text}' is not a step number"))?;
    ensure!(t > 0 && t.to_string() == text, "steps are numbered 1, 2, ..., found '{text}'");
    Ok(t)
}

/// The values of an f32 tensor.
pub(crate) fn values(view: &TensorView<'_>) -> Vec<f32> {
    let words = view.data().as_chunks::<4>().0;
    words.iter().copied().map(f32::from_le_bytes).collect()
}

/// Where a file that is no safetensors file goes wrong.
fn fault(bytes: &[u8]) -> String {
    let len = bytes.len();
    let Some((header_len, rest)) = bytes.split_first_chunk::<8>() else {
        return format!("the file ends at byte {len}, within the 8 bytes of the header's length");
    };
    let header_len = u64::from_le_bytes(*header_len);
    let header = usize::try_from(header_len).ok().and_then(|n| rest.get(..n));
    let Some(header) = header else {
        return format!(
            "the header should be {header_len} bytes long, but the file ends at byte {len}"
        );
    };
    let entries: BTreeMap<String, serde_json::Value> = match serde_json::from_slice(header) {
        Ok(entries) => entries,
        Err(error) => return format!("the header breaks off at byte {}", 7 + error.column()),
    };
    let data_begins = 8 + header_len;
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let end = entry.pointer("/data_offsets/1").and_then(serde_json::Value::as_u64);
        let Some(end) = end else {
            return format!("tensor '{name}' has no data_offsets");
        };
        if data_begins.saturating_add(end) > len as u64 {
            let end = data_begins.saturating_add(end);
            return format!(
                "tensor '{name}' should end at byte {end}, but the file ends at byte {len}"
            );
        }
    }
    format!("the data from byte {data_begins} on do not match the header")
}
