//! The formats of codes, and how a file holds them.

use clap::ValueEnum;
use fallline::StateFormat;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::layout::SPAN;

/// A format of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodeFormat {
    /// Numbers in bitsandbytes' dynamic code books
    Int8,
    /// Numbers in torchao's maps of 4 bits
    Int4,
    /// e4m3
    Fp8,
    /// Companded integers of 8 bits
    Companded,
    /// No codes and scales, but bf16
    Bf16,
}

/// The scales beside codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scales {
    /// What their name adds to the tensor's.
    pub(super) suffix: &'static str,
    pub(super) dtype: Dtype,
    /// How many elements share one.
    pub(super) block_elems: usize,
}

impl CodeFormat {
    pub(super) const fn scales(self) -> Option<Scales> {
        let (suffix, dtype, block_elems) = match self {
            CodeFormat::Int8 => (".absmax", Dtype::F32, 256),
            CodeFormat::Int4 => (".absmax", Dtype::F32, 128),
            CodeFormat::Fp8 => (".scale", Dtype::F32, 256),
            CodeFormat::Companded => (".scale", Dtype::BF16, 32),
            CodeFormat::Bf16 => return None,
        };
        Some(Scales { suffix, dtype, block_elems })
    }

    /// The dtype of the codes.
    pub(super) const fn dtype(self, signed: bool) -> Dtype {
        match self {
            CodeFormat::Companded if signed => Dtype::I8,
            CodeFormat::Int8 | CodeFormat::Int4 | CodeFormat::Companded => Dtype::U8,
            CodeFormat::Fp8 => Dtype::F8_E4M3,
            CodeFormat::Bf16 => Dtype::BF16,
        }
    }

    /// The shape of the codes of a tensor of this shape and length.
    pub(super) fn shape(self, shape: &[usize], len: usize) -> Vec<usize> {
        match self {
            CodeFormat::Int4 => vec![self.codes_bytes(len)],
            _ => shape.to_vec(),
        }
    }

    /// Bytes of the codes of so many elements.
    pub(super) const fn codes_bytes(self, len: usize) -> usize {
        match self {
            CodeFormat::Int8 | CodeFormat::Fp8 | CodeFormat::Companded => len,
            CodeFormat::Int4 => len.div_ceil(2),
            CodeFormat::Bf16 => 2 * len,
        }
    }

    /// Bytes of the scales of so many elements.
    pub(super) fn scales_bytes(self, len: usize) -> usize {
        self.scales().map_or(0, |s| len.div_ceil(s.block_elems) * s.dtype.bitsize() / 8)
    }

    /// Bytes of a span of the GPU's.
    pub(super) fn span_bytes(self) -> usize {
        self.codes_bytes(SPAN) + self.scales_bytes(SPAN)
    }
}

impl From<CodeFormat> for StateFormat {
    fn from(format: CodeFormat) -> Self {
        match format {
            CodeFormat::Int8 => StateFormat::Int8,
            CodeFormat::Int4 => StateFormat::Int4,
            CodeFormat::Fp8 => StateFormat::Fp8,
            CodeFormat::Companded => StateFormat::Companded,
            CodeFormat::Bf16 => StateFormat::Bf16,
        }
    }
}

impl std::fmt::Display for CodeFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        StateFormat::from(*self).fmt(f)
    }
}
