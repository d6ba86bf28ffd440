//! What each of the two takes of the GPU's memory, alone.

use burn::tensor::Device;

use crate::{Contender, Result, models, models::Stack};

const STEPS: usize = 4;

/// Bytes in use, and bytes reserved, of Burn's pools.
fn pools(device: &Device) -> (u64, u64) {
    device.memory_pool_usage().map_or((0, 0), |usage| (usage.bytes_in_use, usage.bytes_reserved))
}

/// Takes some steps of a copy, and says what Burn's pools hold then: parameters twice, since the original is there too, the
/// state that is Burn's, and what was reserved for gradients and whatever a step needs.
pub(crate) fn show(stack: &Stack, mut contender: Contender) -> Result<()> {
    let device = stack.device();
    device.sync()?;
    device.memory_cleanup();
    device.sync()?;
    let mut module = models::copied(stack);
    for step in 0..STEPS {
        let grads = module.grads(step);
        module = contender.step(module, grads);
        device.sync()?;
    }
    let (in_use, reserved) = pools(&device);
    let state = contender.fused.as_ref().map_or(0, |fused| fused.state_size_bytes());
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "  {:<10} alone: {:.1} MB in use, {:.1} MB reserved in Burn's pools, {:.1} MB of state besides",
        contender.name,
        mb(in_use),
        mb(reserved),
        mb(state)
    );
    Ok(())
}
