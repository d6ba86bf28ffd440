//! Whole runs: the same bits every time, and after a save.

use anyhow::Result;
use fallline::{
    Dtype, Gpu, Group, Optimizer, Options, Precision, Saved, StateFormat, Step, TensorId,
    TensorSpec, rule_by_name,
};

use super::{
    numbers::Rng,
    subject::{Finding, Subject, none_differs},
};

/// A rule, and in what it keeps parameters and state.
type Run = (&'static str, Dtype, Precision, StateFormat);

/// Element by element, by tensors, by rows and columns, over all tensors; with and without random bits.
const RUNS: [Run; 5] = [
    ("adamw", Dtype::F32, Precision::Nearest, StateFormat::F32),
    ("adamw", Dtype::Bf16, Precision::Stochastic, StateFormat::Int8),
    ("lamb", Dtype::Bf16, Precision::Remainder, StateFormat::Bf16),
    ("adafactor", Dtype::F16, Precision::Master, StateFormat::Fp8),
    ("prodigy", Dtype::F32, Precision::Nearest, StateFormat::Companded),
];

const SHAPES: [&[usize]; 4] = [&[64, 257], &[129, 40], &[1021], &[3]];

fn optimizer(gpu: &Gpu, (rule, dtype, precision, state): Run, seed: u32) -> Result<Optimizer> {
    let rule = rule_by_name(rule).ok_or_else(|| anyhow::anyhow!("no rule {rule}"))?;
    let groups = [Group::new("all", rule).state(state)];
    // With a norm: its sums are of many workgroups.
    let options = Options { seed, max_norm: Some(1.0), ..Options::default() };
    let spec = |(index, shape): (usize, &&[usize])| {
        TensorSpec::new(format!("t{index}"), *shape)
            .dtype(dtype)
            .grad_dtype(dtype)
            .precision(precision)
    };
    let specs: Vec<TensorSpec> = SHAPES.iter().enumerate().map(spec).collect();
    let optimizer = Optimizer::arena_with(gpu, &groups, &specs, &options)?;
    let mut rng = Rng(1);
    for (index, shape) in SHAPES.iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &rng.values(shape.iter().product(), 1.0))?;
    }
    Ok(optimizer)
}

fn write_grads(optimizer: &Optimizer, step: u64) -> Result<()> {
    let mut rng = Rng(100 + step);
    for (index, shape) in SHAPES.iter().enumerate() {
        optimizer.write_grad(TensorId::new(index), &rng.values(shape.iter().product(), 0.1))?;
    }
    Ok(())
}

fn advance(optimizer: &mut Optimizer, steps: std::ops::Range<u64>) -> Result<()> {
    for step in steps {
        write_grads(optimizer, step)?;
        optimizer.step(&Step::new())?;
    }
    Ok(())
}

fn saved(optimizer: &Optimizer) -> Result<Saved> {
    let mut saved = Saved::default();
    optimizer.save(&mut saved)?;
    Ok(saved)
}

/// What of two saves differs.
fn differing(what: &str, expected: &Saved, found: &Saved) -> Vec<String> {
    let mut differing = Vec::new();
    if expected.entries != found.entries {
        differing.push(format!("{what}: other entries"));
    }
    for (entry, (a, b)) in expected.entries.iter().zip(expected.bytes.iter().zip(&found.bytes)) {
        if a != b {
            differing.push(format!("{what}: {entry}"));
        }
    }
    differing
}

/// Two steps, again and again from the same beginning.
pub(super) fn repeated(subject: &Subject) -> Result<Finding> {
    let repeats = subject.effort.of([5, 100, 100]);
    let mut wrong = Vec::new();
    for run in RUNS {
        let mut optimizer = optimizer(&subject.gpu, run, 17)?;
        advance(&mut optimizer, 0..1)?;
        let begin = optimizer.snapshot()?;
        write_grads(&optimizer, 1)?;
        let mut first = None;
        for repeat in 0..repeats {
            optimizer.restore(&begin)?;
            optimizer.step(&Step::new())?;
            optimizer.step(&Step::new())?;
            let found = saved(&optimizer)?;
            let expected = first.get_or_insert_with(|| found.clone());
            wrong.extend(differing(&format!("{} in repeat {repeat}", run.0), expected, &found));
        }
    }
    Ok(none_differs(("repeats", repeats * RUNS.len()), wrong))
}

/// Four steps at once, and two of them behind a save, in another optimizer.
pub(super) fn resumed(subject: &Subject) -> Result<Finding> {
    let mut wrong = Vec::new();
    for run in RUNS {
        let mut straight = optimizer(&subject.gpu, run, 17)?;
        advance(&mut straight, 0..4)?;
        let mut first = optimizer(&subject.gpu, run, 17)?;
        advance(&mut first, 0..2)?;
        // The seed is one of the things that are saved.
        let mut second = optimizer(&subject.gpu, run, 5)?;
        second.load(&mut saved(&first)?)?;
        advance(&mut second, 2..4)?;
        wrong.extend(differing(run.0, &saved(&straight)?, &saved(&second)?));
    }
    Ok(none_differs(("runs", RUNS.len()), wrong))
}

#[cfg(test)]
mod tests {
    use fallline::{Encoding, SavedEntry};

    use super::*;

    #[test]
    fn one_byte_is_a_difference() {
        let entry = SavedEntry {
            tensor: Some("t0".into()),
            what: "param".into(),
            encoding: Encoding::Counts,
            shape: vec![1],
            size_bytes: 4,
        };
        let one = Saved { entries: vec![entry], bytes: vec![vec![1, 2, 3, 4]] };
        assert_eq!(differing("a", &one, &one), [""; 0]);
        let other = Saved { bytes: vec![vec![1, 2, 3, 5]], ..one.clone() };
        assert_eq!(differing("a", &one, &other), ["a: param of tensor 't0'"]);
        assert_eq!(differing("a", &one, &Saved::default()), ["a: other entries"]);
    }
}
