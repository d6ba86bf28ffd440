//! The optimizer that is measured, with data in its tensors.

use std::sync::LazyLock;

use anyhow::Result;
use fallline::{
    BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Rule, TensorId, TensorSpec,
    wgpu::{Buffer, BufferSlice, BufferUsages},
};

use crate::compute;

/// Builds an optimizer in the arena or over buffers of the caller's, and fills it.
pub(crate) fn optimizer(
    gpu: &Gpu,
    rule: Rule,
    specs: &[TensorSpec],
    borrowed: bool,
) -> Result<Optimizer> {
    let groups = [Group::new("all", rule)];
    let optimizer = if borrowed {
        Optimizer::borrowed(gpu, &groups, &lend(gpu, specs)?)?
    } else {
        Optimizer::arena(gpu, &groups, specs)?
    };
    for index in 0..specs.len() {
        let id = TensorId::new(index);
        fill(gpu, optimizer.param(id)?)?;
        fill(gpu, optimizer.grad(id)?)?;
    }
    gpu.wait()?;
    Ok(optimizer)
}

/// Parameters in one buffer and gradients in another, as a runtime lays them out that allocates
/// from large buffers: at multiples of 256 bytes; further buffers where one is full.
fn lend(gpu: &Gpu, specs: &[TensorSpec]) -> Result<Vec<BorrowedTensor>> {
    let most = gpu.limits().max_buffer_size;
    let mut sizes = vec![0u64];
    let mut places = Vec::with_capacity(specs.len());
    for spec in specs {
        let size = (spec.len_elems()? * 4).next_multiple_of(256);
        if sizes[sizes.len() - 1] + size > most {
            sizes.push(0);
        }
        let number = sizes.len() - 1;
        places.push((number, sizes[number]));
        sizes[number] += size;
    }
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
    let pool = |label: &'static str| {
        gpu.checked(label, || {
            sizes.iter().map(|size| compute::buffer(gpu, label, *size, usage)).collect()
        })
    };
    let (params, grads): (Vec<Buffer>, Vec<Buffer>) = (pool("lent params")?, pool("lent grads")?);
    let lent = |(spec, (number, offset)): (&TensorSpec, &(usize, u64))| {
        let len_elems = spec.len_elems()?;
        Ok(BorrowedTensor {
            spec: spec.clone(),
            param: BufferRange::new(&params[*number], *offset, len_elems),
            grad: BufferRange::new(&grads[*number], *offset, len_elems),
        })
    };
    specs.iter().zip(&places).map(lent).collect()
}

/// Writes numbers in [0.5, 1) into a slice, always the same. They repeat after a few MiB, so that a
/// large tensor takes no more of the host's memory than that.
///
/// Positive, and none of them small: the traffic kernel shifts parameters and state round, and
/// neither a square root of a negative number nor a subnormal shall come of it.
pub(crate) fn fill(gpu: &Gpu, slice: BufferSlice<'_>) -> Result<()> {
    static PATTERN: LazyLock<Vec<f32>> = LazyLock::new(|| {
        let mut state = 1u32;
        let next = || {
            // Numerical Recipes' linear congruential generator; its upper bits as a mantissa.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(0x3f00_0000 | (state >> 9))
        };
        std::iter::repeat_with(next).take(1 << 20).collect()
    });
    let pattern: &[u8] = bytemuck::cast_slice(&PATTERN);
    for done in (0..slice.size()).step_by(pattern.len()) {
        let left = usize::try_from(slice.size() - done).unwrap_or(usize::MAX);
        let bytes = &pattern[..left.min(pattern.len())];
        gpu.checked("data to measure with", || {
            gpu.queue().write_buffer(slice.buffer(), slice.offset() + done, bytes);
            // What was written waits in memory for the next submission.
            gpu.queue().submit([]);
        })?;
    }
    Ok(())
}
