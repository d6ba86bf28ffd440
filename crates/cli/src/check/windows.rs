//! Tensors that no single binding holds.

use anyhow::{Result, ensure};
use fallline::{AdamW, Error, Gpu, Group, Optimizer, Step, TensorId, TensorSpec};

use super::{
    numbers::{Rng, bits},
    subject::{Effort, Finding, Subject, none_differs},
};

/// Numbers repeat after so many elements, a prime: what is taken from another tile or window is another number.
const PERIOD: usize = 65_521;

/// Slots of f32 that AdamW with amsgrad keeps, all in one buffer.
const SLOTS: u64 = 3;

/// Memory that it may take: some machines share it with everything else.
fn budget(effort: Effort) -> u64 {
    effort.of([256 << 20, 1 << 30, 8 << 30])
}

/// One tensor whose state takes a little more than a binding may hold gives, element by element, the bits of a small one.
pub(super) fn beyond_a_binding(subject: &Subject) -> Result<Finding> {
    let gpu = &subject.gpu;
    let limits = gpu.limits();
    let binding = limits.max_storage_buffer_binding_size;
    // One more tile than fits.
    let len = binding / (4 * SLOTS) / 256 * 256 + 3 * 256 + 5;
    let size_bytes = len * 4 * (2 + SLOTS);
    let in_mib = |bytes: u64| bytes >> 20;
    if len * 4 * SLOTS > limits.max_buffer_size {
        return Ok(Finding::NotAvailable("no buffer is larger than a binding".to_owned()));
    }
    if size_bytes > budget(subject.effort) {
        return Ok(Finding::NotAvailable(format!(
            "a binding holds {} MiB: this takes {} MiB of memory, of at most {}{}",
            in_mib(binding),
            in_mib(size_bytes),
            in_mib(budget(subject.effort)),
            if subject.effort == Effort::All { "" } else { " without --all" },
        )));
    }
    let Ok(len) = usize::try_from(len) else {
        return Ok(Finding::NotAvailable(format!("{len} elements are too many for this host")));
    };
    match stepped(gpu, len) {
        Err(error) if is_out_of_memory(&error) => Ok(Finding::NotAvailable(format!(
            "there is not enough memory for {} MiB: {error}",
            in_mib(size_bytes)
        ))),
        Err(error) => Err(error),
        Ok((found, dispatches)) => {
            let (expected, of_small) = stepped(gpu, PERIOD)?;
            let what = format!("elements in {} windows", dispatches + 1 - of_small);
            ensure!(dispatches > of_small, "{len} elements are updated in one window");
            Ok(none_differs((&what, len), differing(&found, &expected)))
        }
    }
}

fn is_out_of_memory(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::OutOfMemory { .. }))
}

/// The parameter after two steps, and the dispatches of one.
fn stepped(gpu: &Gpu, len: usize) -> Result<(Vec<f32>, usize)> {
    let groups = [Group::new("all", AdamW::new().lr(1e-2).amsgrad(true))];
    let mut optimizer = Optimizer::arena(gpu, &groups, &[TensorSpec::new("t", [len])])?;
    let id = TensorId::new(0);
    let period = |seed: u64| Rng(seed).values(PERIOD, 1.0);
    let repeated =
        |period: Vec<f32>| -> Vec<f32> { period.into_iter().cycle().take(len).collect() };
    optimizer.write_param(id, &repeated(period(1)))?;
    for seed in [2, 3] {
        optimizer.write_grad(id, &repeated(period(seed)))?;
        optimizer.step(&Step::new())?;
    }
    Ok((optimizer.read_param(id)?, optimizer.dispatches()))
}

/// Elements that are not those of the period.
fn differing(found: &[f32], period: &[f32]) -> Vec<String> {
    let expected = bits(period);
    let wrong = |(at, found): (usize, &f32)| {
        let expected = expected[at % PERIOD];
        let told = || format!("t[{at}] is {:#010x}, not {expected:#010x}", found.to_bits());
        (found.to_bits() != expected).then(told)
    };
    found.iter().enumerate().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_another_window_is_found() {
        let period = Rng(1).values(PERIOD, 1.0);
        let mut found: Vec<f32> = period.iter().copied().cycle().take(3 * PERIOD).collect();
        assert_eq!(differing(&found, &period), [""; 0]);
        // As if a window of 64 tiles were taken for the one before.
        found.copy_within(0..256, 64 * 256);
        assert!(differing(&found, &period).len() > 250);
    }
}
