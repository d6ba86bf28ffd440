//! The formats of a trace's tensors: between their bytes and f32.

use anyhow::bail;
use fallline::Dtype;
use fallline_reference::ulp;
use half::{bf16, f16};
use safetensors::tensor::TensorView;

/// The engine's name of a tensor's format.
pub(crate) fn dtype(view: &TensorView<'_>) -> anyhow::Result<Dtype> {
    Ok(match view.dtype() {
        safetensors::Dtype::F32 => Dtype::F32,
        safetensors::Dtype::F16 => Dtype::F16,
        safetensors::Dtype::BF16 => Dtype::Bf16,
        other => bail!("the dtype must be F32, F16 or BF16, found {other:?}"),
    })
}

/// safetensors' name of a format.
pub(crate) fn tag(dtype: Dtype) -> anyhow::Result<safetensors::Dtype> {
    Ok(match dtype {
        Dtype::F32 => safetensors::Dtype::F32,
        Dtype::F16 => safetensors::Dtype::F16,
        Dtype::Bf16 => safetensors::Dtype::BF16,
        other => bail!("safetensors has no name for {other}"),
    })
}

/// The values of a tensor in one of these formats.
pub(crate) fn values(view: &TensorView<'_>) -> Vec<f32> {
    let halves = || view.data().as_chunks::<2>().0.iter().copied();
    match view.dtype() {
        safetensors::Dtype::F16 => halves().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        safetensors::Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        _ => view.data().as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect(),
    }
}

/// The bytes of values that the format holds.
pub(crate) fn bytes(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// How many numbers of the format lie between two of them, as [`ulp::distance`] counts those of f32.
pub(crate) fn distance(dtype: Dtype, a: f32, b: f32) -> u32 {
    let code: fn(f32) -> u16 = match dtype {
        Dtype::F16 if !a.is_nan() && !b.is_nan() => |value| f16::from_f32(value).to_bits(),
        Dtype::Bf16 if !a.is_nan() && !b.is_nan() => |value| bf16::from_f32(value).to_bits(),
        _ => return ulp::distance(a, b),
    };
    let ordinal = |value| {
        let magnitude = i32::from(code(value) & 0x7fff);
        if code(value) >> 15 == 0 { magnitude } else { -magnitude }
    };
    ordinal(a).abs_diff(ordinal(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_the_format() {
        for (dtype, eps, smallest) in [
            (Dtype::F32, f32::EPSILON, f32::from_bits(1)),
            (Dtype::F16, f16::EPSILON.to_f32(), f16::from_bits(1).to_f32()),
            (Dtype::Bf16, bf16::EPSILON.to_f32(), bf16::from_bits(1).to_f32()),
        ] {
            assert_eq!(distance(dtype, 1.0, 1.0 + eps), 1, "{dtype}");
            assert_eq!(distance(dtype, smallest, -smallest), 2, "{dtype}");
            assert_eq!(distance(dtype, 0.0, -0.0), 0, "{dtype}");
            assert_eq!(distance(dtype, f32::NAN, -f32::NAN), 0, "{dtype}");
            assert_eq!(distance(dtype, f32::INFINITY, f32::NAN), u32::MAX, "{dtype}");
        }
        assert_eq!(distance(Dtype::F16, 65504.0, f32::INFINITY), 1);
    }
}
