//! The optimizer that is measured, with data in its tensors.

use anyhow::Result;
use fallline::{
    BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Rule, TensorId, TensorSpec,
    wgpu::{Buffer, BufferUsages},
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
    let pattern = pattern(specs);
    for (index, spec) in specs.iter().enumerate() {
        let values = prefix(&pattern, spec);
        optimizer.write_param(TensorId::new(index), values)?;
        optimizer.write_grad(TensorId::new(index), values)?;
        // What was written waits in host memory for the next submission.
        gpu.queue().submit([]);
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

/// Numbers in [0.5, 1), enough for the largest tensor.
///
/// Positive, and none of them small: the traffic kernel shifts parameters and state round, and
/// neither a square root of a negative number nor a subnormal shall come of it.
pub(crate) fn pattern(specs: &[TensorSpec]) -> Vec<f32> {
    let len = specs.iter().map(|spec| spec.shape.iter().product()).max().unwrap_or(0);
    let mut state = 1u32;
    let mut next = || {
        // Numerical Recipes' linear congruential generator; its upper bits as a mantissa.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x3f00_0000 | (state >> 9))
    };
    (0..len).map(|_| next()).collect()
}

/// A tensor's numbers.
pub(crate) fn prefix<'a>(pattern: &'a [f32], spec: &TensorSpec) -> &'a [f32] {
    &pattern[..spec.shape.iter().product()]
}
