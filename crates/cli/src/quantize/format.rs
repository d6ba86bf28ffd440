//! How a file holds codes and scales of each format, both in rows.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fallline::{BlockScales, StateFormat};
use safetensors::Dtype;

use crate::tensorfile;

/// The formats that a file can have, and what they are.
const FORMATS: [(StateFormat, &str); 5] = [
    (StateFormat::Int8, "Numbers in bitsandbytes' dynamic code books"),
    (StateFormat::Int4, "Numbers in torchao's maps of 4 bits"),
    (StateFormat::Fp8, "e4m3"),
    (StateFormat::Companded, "Companded integers of 8 bits"),
    (StateFormat::Bf16, "No codes and scales, but bf16"),
];

/// Parses an option as one of these.
pub(super) fn parser() -> impl TypedValueParser<Value = StateFormat> {
    let possible = FORMATS.map(|(format, help)| PossibleValue::new(format.name()).help(help));
    PossibleValuesParser::new(possible).try_map(|name| name.parse())
}

/// Their names.
pub(super) fn names() -> [&'static str; 5] {
    FORMATS.map(|(format, _)| format.name())
}

/// What the name of scales adds to their tensor's, if the format has any.
pub(super) fn suffix(format: StateFormat) -> Option<&'static str> {
    format.scales().map(|_| match format {
        StateFormat::Int8 | StateFormat::Int4 => ".absmax",
        _ => ".scale",
    })
}

/// Dtype and shape of the scales of so many elements, if the format has any.
pub(super) fn scales(
    format: StateFormat,
    len: usize,
) -> anyhow::Result<Option<(Dtype, Vec<usize>)>> {
    let Some(BlockScales { dtype, block_elems }) = format.scales() else { return Ok(None) };
    let blocks = len.div_ceil(usize::try_from(block_elems)?);
    Ok(Some((tensorfile::tag(dtype)?, vec![blocks])))
}

/// The dtype of the codes.
pub(super) const fn dtype(format: StateFormat, signed: bool) -> Dtype {
    match format {
        StateFormat::Companded if signed => Dtype::I8,
        StateFormat::Fp8 => Dtype::F8_E4M3,
        StateFormat::Bf16 => Dtype::BF16,
        _ => Dtype::U8,
    }
}

/// The shape of the codes of a tensor of this shape and length.
pub(super) fn shape(format: StateFormat, shape: &[usize], len: usize) -> Vec<usize> {
    match format {
        StateFormat::Int4 => vec![codes_bytes(format, len)],
        _ => shape.to_vec(),
    }
}

/// Bytes of the codes of so many elements, which lie in memory.
pub(super) fn codes_bytes(format: StateFormat, len: usize) -> usize {
    size(format.codes_size_bytes(len as u64))
}

/// Bytes of the scales of so many elements, which lie in memory.
pub(super) fn scales_bytes(format: StateFormat, len: usize) -> usize {
    size(format.scales_size_bytes(len as u64))
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
