//! Files of tensors (safetensors): reading and writing them, and between the bytes of their formats and
//! f32.

mod header;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::{Context, anyhow, bail};
use fallline::Dtype;
use safetensors::{
    SafeTensorError, SafeTensors,
    tensor::{TensorView, View},
};

use crate::output::Output;

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// In the order of their names.
    pub(crate) tensors: BTreeMap<String, TensorView<'a>>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl<'a> Contents<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> anyhow::Result<Self> {
        header::check(bytes)?;
        // Whatever is left is said in the library's words, which hold their cause.
        let fault = |error: SafeTensorError| anyhow!("not a safetensors file: {error}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(fault)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(fault)?.tensors();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors: tensors.into_iter().collect(), metadata })
    }
}

/// A tensor to be written.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: String,
    pub(crate) dtype: safetensors::Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl View for &Tensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes a file whole; the same bytes for the same contents.
pub(crate) fn write(
    output: &Output,
    tensors: &[Tensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let tensors = tensors.iter().map(|tensor| (&tensor.name, tensor));
    let any_order: HashMap<String, String> = metadata.clone().into_iter().collect();
    let mut bytes = safetensors::serialize(tensors, (!metadata.is_empty()).then_some(any_order))?;
    if !metadata.is_empty() {
        // Those of a hash map, at the header's beginning, are as long in their order.
        let start = size_of::<u64>() + r#"{"__metadata__":"#.len();
        let text = serde_json::to_string(metadata)?;
        bytes[start..start + text.len()].copy_from_slice(text.as_bytes());
    }
    output.write(&bytes)
}

/// The engine's name of a format.
pub(crate) fn dtype(tag: safetensors::Dtype) -> anyhow::Result<Dtype> {
    Ok(match tag {
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
pub(crate) fn values(view: &TensorView<'_>) -> anyhow::Result<Vec<f32>> {
    Ok(dtype(view.dtype())?.decode(view.data()))
}
