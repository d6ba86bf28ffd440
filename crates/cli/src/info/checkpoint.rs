//! What is in a checkpoint.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use fallline::{Encoding, SavedEntry};
use fallline_checkpoint::{Checkpoint, SavedGroup};
use serde::Serialize;
use serde_json::Value;

use crate::{Outcome, output::Outputs, print};

/// Tells it, after all checksums were compared. Needs no device.
pub(super) fn print(path: &Path, json: Option<&Path>) -> Result<Outcome> {
    let json = Outputs::beside(&[path]).open_any(json)?;
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.verify()?;
    let report = Report::new(&checkpoint)?;
    print::print(report.text())?;
    if let Some(json) = json {
        json.write_json(&report)?;
    }
    Ok(Outcome::Good)
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    step: u64,
    size_bytes: u64,
    /// The caller's.
    extra: Value,
    groups: Vec<SavedGroup>,
    /// What the optimizer has for all tensors, by name.
    optimizer: BTreeMap<String, String>,
    /// By name.
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Default, Serialize)]
struct Tensor {
    /// With its switches.
    rule: String,
    /// How many steps it has taken.
    steps: u32,
    size_bytes: u64,
    /// What is kept of it and in which format: `param`, `master`, `state/exp_avg`.
    kept: BTreeMap<String, Kept>,
}

#[derive(Debug, Serialize)]
struct Kept {
    format: String,
    shape: Vec<usize>,
}

impl Report {
    fn new(checkpoint: &Checkpoint) -> Result<Self> {
        let size_bytes = checkpoint.path().metadata().context("the file is gone")?.len();
        let mut report = Self {
            file: checkpoint.path().display().to_string(),
            step: checkpoint.step(),
            size_bytes,
            extra: checkpoint.extra()?,
            groups: checkpoint.groups().to_vec(),
            optimizer: BTreeMap::new(),
            tensors: BTreeMap::new(),
        };
        for entry in checkpoint.entries() {
            let Some(name) = &entry.tensor else {
                report.optimizer.insert(entry.what.clone(), small(checkpoint, entry)?);
                continue;
            };
            let tensor = report.tensors.entry(name.clone()).or_default();
            tensor.size_bytes += entry.size_bytes;
            match &*entry.what {
                "rule" => tensor.rule = small(checkpoint, entry)?,
                "step" => tensor.steps = words(checkpoint, entry)?.first().copied().unwrap_or(0),
                "number" => {}
                what => {
                    let kept =
                        Kept { format: entry.encoding.to_string(), shape: entry.shape.clone() };
                    tensor.kept.insert(what.to_owned(), kept);
                }
            }
        }
        Ok(report)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", print::escaped(&self.file));
        let mut line = |name: &str, value: &str| {
            text += &format!("  {name:<12}{}\n", print::escaped(value));
        };
        line("step", &self.step.to_string());
        line("size", &format!("{}, checksums are right", bytes(self.size_bytes)));
        line("extra", &self.extra.to_string());
        for (what, value) in &self.optimizer {
            line(what, value);
        }
        for SavedGroup { name, rule, options, tensors, .. } in &self.groups {
            let group = format!("{name}: {rule} {options}, {} tensors", tensors.len());
            line("group", &group);
        }
        for (name, Tensor { rule, steps, size_bytes, kept }) in &self.tensors {
            let size = bytes(*size_bytes);
            text += &format!("{}: {rule}, {steps} steps, {size}\n", print::escaped(name));
            for (what, Kept { format, shape }) in kept {
                text += &format!("  {what:<24}{format} {shape:?}\n");
            }
        }
        text
    }
}

/// An entry of a few bytes.
fn small(checkpoint: &Checkpoint, entry: &SavedEntry) -> Result<String> {
    Ok(match entry.encoding {
        Encoding::Text => String::from_utf8_lossy(&checkpoint.read(entry)?).into_owned(),
        Encoding::Counts if entry.what == "loss_scale" => {
            // Scale, reciprocal, steps without overflow, whether one is pending.
            let words = words(checkpoint, entry)?;
            let word = |number: usize| words.get(number).copied().unwrap_or(0);
            format!("{}, {} steps without overflow", f32::from_bits(word(0)), word(2))
        }
        Encoding::Counts => {
            let words = words(checkpoint, entry)?;
            words.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
        }
        _ => format!("{} {:?}", entry.encoding, entry.shape),
    })
}

fn words(checkpoint: &Checkpoint, entry: &SavedEntry) -> Result<Vec<u32>> {
    let bytes = checkpoint.read(entry)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

fn bytes(size: u64) -> String {
    match size {
        0..10_240 => format!("{size} bytes"),
        10_240..10_485_760 => format!("{:.1} KiB", size as f64 / 1024.0),
        _ => format!("{:.1} MiB", size as f64 / 1_048_576.0),
    }
}
