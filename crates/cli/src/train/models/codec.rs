//! What the kernels that touch parameters or gradients are joined with, by their format.

use anyhow::{Result, bail};
use fallline::{
    Dtype,
    wgpu::{Buffer, BufferSlice},
};
use fallline_shaders::{Source, formats, packing};

const PARAM_F32: Source =
    Source { path: "train/param_f32", text: include_str!("shaders/param_f32.wgsl") };
const PARAM_F16: Source =
    Source { path: "train/param_f16", text: include_str!("shaders/param_f16.wgsl") };
const PARAM_BF16: Source =
    Source { path: "train/param_bf16", text: include_str!("shaders/param_bf16.wgsl") };
const GRAD_F32: Source =
    Source { path: "train/grad_f32", text: include_str!("shaders/grad_f32.wgsl") };
const GRAD_F16: Source =
    Source { path: "train/grad_f16", text: include_str!("shaders/grad_f16.wgsl") };
const GRAD_BF16: Source =
    Source { path: "train/grad_bf16", text: include_str!("shaders/grad_bf16.wgsl") };

/// What reads parameters.
pub(super) fn param(dtype: Dtype) -> Result<Vec<Source>> {
    with_format(dtype, [PARAM_F32, PARAM_F16, PARAM_BF16])
}

/// What writes gradients.
pub(super) fn grad(dtype: Dtype) -> Result<Vec<Source>> {
    with_format(dtype, [GRAD_F32, GRAD_F16, GRAD_BF16])
}

fn with_format(dtype: Dtype, [f32, f16, bf16]: [Source; 3]) -> Result<Vec<Source>> {
    Ok(match dtype {
        Dtype::F32 => vec![f32],
        Dtype::F16 => vec![f16, formats::F16, formats::F16_NEAREST, packing::HALVES],
        Dtype::Bf16 => vec![bf16, formats::BF16, packing::HALVES],
        other => bail!("the models have no kernels for {other}"),
    })
}

/// A tensor of an arena in whole words of four elements, as the kernels load and store them. What the
/// last word has too many lies in the arena's padding.
pub(super) fn whole_words(slice: BufferSlice<'_>, dtype: Dtype) -> BufferSlice<'_> {
    let buffer: &Buffer = slice.buffer();
    let size = slice.size().next_multiple_of(4 * dtype.size_bytes());
    buffer.slice(slice.offset()..slice.offset() + size)
}
