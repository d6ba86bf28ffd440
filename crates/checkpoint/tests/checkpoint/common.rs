//! What the tests share: the device, a run that is the same every time, and what an optimizer holds.

use std::{error::Error, ops::Range, path::PathBuf};

use fallline::{
    Dtype, Gpu, Group, Optimizer, Options, Precision, Saved, Step, TensorId, TensorSpec,
};
use tempfile::TempDir;

/// The device under test. Without one the run fails, and says what to install.
pub(crate) fn gpu() -> Gpu {
    Gpu::from_env().unwrap_or_else(|error| panic!("these tests need a GPU: {error}"))
}

/// More than a tile and not a whole number of them, exactly 16 tiles, one without elements and others.
pub(crate) const SHAPES: [&[usize]; 6] = [&[3, 1667], &[64, 64], &[3], &[], &[300], &[0]];

/// A run's tensors.
pub(crate) fn specs(dtype: Dtype, precision: Precision) -> Vec<TensorSpec> {
    let spec = |(number, shape): (usize, &&[usize])| {
        TensorSpec::new(format!("layer.{number}/weight"), *shape)
            .dtype(dtype)
            .precision(precision)
            .grad_dtype(Dtype::F32)
    };
    SHAPES.iter().enumerate().map(spec).collect()
}

/// An optimizer of these tensors.
pub(crate) fn optimizer(gpu: &Gpu, group: &Group, specs: &[TensorSpec], seed: u32) -> Optimizer {
    let options = Options { seed, ..Options::default() };
    Optimizer::arena_with(gpu, std::slice::from_ref(group), specs, &options).expect("it is built")
}

/// Numbers of either sign, the same every time.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let sixteen = u16::try_from(state >> 48).expect("16 bits");
        f32::from(sixteen) / 32768.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn fill(optimizer: &Optimizer, seed: u64, write: impl Fn(TensorId, &[f32])) {
    for (number, (id, spec)) in (0..).zip(optimizer.tensors()) {
        write(id, &values(31 * seed + number, spec.shape.iter().product()));
    }
}

/// Sets the parameters that a run begins with.
pub(crate) fn begin(optimizer: &Optimizer) {
    fill(optimizer, 99, |id, values| optimizer.write_param(id, values).expect("written"));
}

/// Takes these steps; the last tensor but one has no gradient in every third.
pub(crate) fn run(optimizer: &mut Optimizer, steps: Range<u64>) {
    for step in steps {
        fill(optimizer, step, |id, values| optimizer.write_grad(id, values).expect("written"));
        let absent = [TensorId::new(optimizer.tensors().len() - 2)];
        let taken = if step % 3 == 1 { Step::new().without_grad(&absent) } else { Step::new() };
        optimizer.step(&taken).expect("a step");
    }
}

/// Everything that an optimizer holds.
pub(crate) fn held(optimizer: &Optimizer) -> Saved {
    let mut saved = Saved::default();
    optimizer.save(&mut saved).expect("saved");
    saved
}

/// What differs between two optimizers: names of entries.
pub(crate) fn differ(a: &Saved, b: &Saved) -> Vec<String> {
    assert_eq!(a.entries, b.entries);
    let entries = a.entries.iter().zip(a.bytes.iter().zip(&b.bytes));
    entries.filter(|(_, (a, b))| a != b).map(|(entry, _)| entry.to_string()).collect()
}

/// A folder, and a file in it that is not there yet.
pub(crate) fn scratch() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.safetensors");
    (folder, path)
}

/// What an error says, with its causes.
pub(crate) fn says(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", says(cause)),
        None => error.to_string(),
    }
}
