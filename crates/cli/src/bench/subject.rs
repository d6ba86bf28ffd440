//! The optimizer that is measured, with data in its tensors.

use std::{sync::LazyLock, time::Instant};

use anyhow::Result;
use fallline::{
    BorrowedTensor, BufferRange, Dtype, Gpu, Group, Optimizer, TensorId, TensorSpec,
    wgpu::{Buffer, BufferSlice, BufferUsages},
};

use crate::{compute, precision::Numerics};

/// Builds an optimizer in the arena or over buffers of the caller's, and fills it.
pub(crate) fn optimizer(
    gpu: &Gpu,
    group: Group,
    specs: &[TensorSpec],
    numerics: &Numerics,
    borrowed: bool,
) -> Result<Optimizer> {
    Ok(timed_optimizer(gpu, group, specs, numerics, borrowed)?.0)
}

/// The same, with the host seconds that it took to build without the buffers of the caller's.
pub(crate) fn timed_optimizer(
    gpu: &Gpu,
    group: Group,
    specs: &[TensorSpec],
    numerics: &Numerics,
    borrowed: bool,
) -> Result<(Optimizer, f64)> {
    let groups = [numerics.group(group)];
    let specs: Vec<TensorSpec> = specs.iter().map(|spec| numerics.spec(spec.clone())).collect();
    let options = numerics.options(gpu, 0)?;
    let lent = if borrowed { Some(lend(gpu, &specs)?) } else { None };
    let start = Instant::now();
    let optimizer = match lent {
        Some(lent) => Optimizer::borrowed_with(gpu, &groups, &lent, &options)?,
        None => Optimizer::arena_with(gpu, &groups, &specs, &options)?,
    };
    gpu.wait()?;
    let build = start.elapsed().as_secs_f64();
    for (index, spec) in specs.iter().enumerate() {
        let id = TensorId::new(index);
        fill(gpu, optimizer.param(id)?, spec.dtype)?;
        fill(gpu, optimizer.grad(id)?, spec.grad_dtype)?;
    }
    gpu.wait()?;
    Ok((optimizer, build))
}

/// Parameters in one buffer and gradients in another, as a runtime lays them out that allocates
/// from large buffers: at multiples of 256 bytes; further buffers where one is full.
fn lend(gpu: &Gpu, specs: &[TensorSpec]) -> Result<Vec<BorrowedTensor>> {
    let params = pool(gpu, "lent params", specs, |spec| spec.dtype)?;
    let grads = pool(gpu, "lent grads", specs, |spec| spec.grad_dtype)?;
    let lent = |((spec, param), grad): ((&TensorSpec, BufferRange), BufferRange)| BorrowedTensor {
        spec: spec.clone(),
        param,
        grad: Some(grad),
    };
    Ok(specs.iter().zip(params).zip(grads).map(lent).collect())
}

/// Room behind the last range of a buffer, for all to move by.
pub(crate) const SLACK_BYTES: u64 = 512;

/// A range for each tensor in the format of one role.
fn pool(
    gpu: &Gpu,
    label: &'static str,
    specs: &[TensorSpec],
    dtype: impl Fn(&TensorSpec) -> Dtype,
) -> Result<Vec<BufferRange>> {
    let most = gpu.limits().max_buffer_size;
    let mut sizes = vec![0u64];
    let mut places = Vec::with_capacity(specs.len());
    for spec in specs {
        let len_elems = spec.len_elems()?;
        let size = (len_elems * dtype(spec).size_bytes()).next_multiple_of(256);
        if sizes[sizes.len() - 1] + size + SLACK_BYTES > most {
            sizes.push(0);
        }
        let number = sizes.len() - 1;
        places.push((number, sizes[number], len_elems));
        sizes[number] += size;
    }
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
    let buffers: Vec<Buffer> = gpu.checked(label, || {
        let size = |size: &u64| (size + SLACK_BYTES).min(most);
        sizes.iter().map(|bytes| compute::buffer(gpu, label, size(bytes), usage)).collect()
    })?;
    let range =
        |(number, offset, len): (usize, u64, u64)| BufferRange::new(&buffers[number], offset, len);
    Ok(places.into_iter().map(range).collect())
}

/// Writes numbers in [0.5, 1) into a slice, always the same. They repeat after a few MiB, so that a
/// large tensor takes no more of the host's memory than that.
///
/// Positive, and none of them small: the traffic kernel shifts parameters and state round, and
/// neither a square root of a negative number nor a subnormal shall come of it.
pub(crate) fn fill(gpu: &Gpu, slice: BufferSlice<'_>, dtype: Dtype) -> Result<()> {
    /// The bits of a number in [0.5, 1), from so many random ones.
    fn words(number: impl Fn(u32) -> u32) -> Vec<u32> {
        let mut state = 1u32;
        let next = || {
            // Numerical Recipes' linear congruential generator; its upper bits as a mantissa.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number(state)
        };
        std::iter::repeat_with(next).take(1 << 20).collect()
    }
    static F32: LazyLock<Vec<u32>> = LazyLock::new(|| words(|bits| 0x3f00_0000 | bits >> 9));
    // Two codes in a word; the exponents around a mantissa of 10 or 7 bits.
    static F16: LazyLock<Vec<u32>> = LazyLock::new(|| words(|b| 0x3800_3800 | b >> 5 & 0x3ff_03ff));
    static BF16: LazyLock<Vec<u32>> = LazyLock::new(|| words(|b| 0x3f00_3f00 | b >> 5 & 0x7f_007f));
    let pattern: &[u8] = bytemuck::cast_slice(match dtype {
        Dtype::F16 => F16.as_slice(),
        Dtype::Bf16 => &BF16,
        _ => &F32,
    });
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
