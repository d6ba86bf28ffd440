//! What happens when memory is used up.

use anyhow::{Context, Result};
use fallline::{Adam, Error, Group, Optimizer, Step, TensorId, TensorSpec};

use super::subject::{Finding, Measured, Subject};

/// No device has more. Drivers that give memory only when it is touched promise any amount.
const MOST_BYTES: u64 = 1 << 40;

/// Optimizers are built until there is no memory for another: an error says so, and what there was goes on.
pub(super) fn used_up(subject: &Subject) -> Result<Finding> {
    let gpu = &subject.gpu;
    let groups = [Group::new("all", Adam::new().lr(1.0))];
    let mut small = Optimizer::arena(gpu, &groups, &[TensorSpec::new("small", [1000])])?;
    let id = TensorId::new(0);
    small.write_grad(id, &[1.0; 1000])?;
    // Of parameter, gradient and two slots, the state is the largest buffer.
    let limits = gpu.limits();
    let len = (limits.max_buffer_size.min(1 << 31) / 8 / 256 * 256).saturating_sub(256);
    let spec = [TensorSpec::new("large", [usize::try_from(len)?])];
    let mut held = Vec::new();
    let size_bytes = 16 * len;
    while (held.len() as u64) * size_bytes < MOST_BYTES {
        match Optimizer::arena(gpu, &groups, &spec) {
            Ok(optimizer) => held.push(optimizer),
            Err(Error::OutOfMemory { .. }) => {
                small.step(&Step::new()).context("a step after memory was used up")?;
                let (param, count) = (small.read_param(id)?, held.len() as u64);
                drop(held);
                gpu.wait()?;
                Optimizer::arena(gpu, &groups, &spec).context("memory that was given back")?;
                let seen = format!(
                    "an error after {} MiB, and the device goes on",
                    (count * size_bytes) >> 20
                );
                let is_right = param.iter().all(|value| (value + 1.0).abs() < 1e-5);
                let expected = "a step as before".to_owned();
                return Ok(match is_right {
                    true => Finding::Passed(Measured::seen(seen)),
                    false => Finding::Failed { measured: Measured::seen(seen), expected },
                });
            }
            Err(error) => return Err(error).context("when memory was used up"),
        }
    }
    Ok(Finding::NotAvailable(format!("the driver promises {} GiB and more", MOST_BYTES >> 30)))
}
