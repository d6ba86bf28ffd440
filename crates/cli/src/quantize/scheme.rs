//! What the metadata of a quantized file tell about it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use fallline::StateFormat;
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::format;
use crate::tensorfile::Contents;

/// The metadata's key.
const KEY: &str = "fallline";

const VERSION: u64 = 1;

/// How the tensors of a file are quantized: as JSON, what the metadata hold under `fallline`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scheme {
    version: u64,
    pub(super) format: StateFormat,
    pub(super) signed: bool,
    /// The quantized ones, by name; others are as they were.
    pub(super) tensors: BTreeMap<String, Original>,
}

/// What a tensor was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Original {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

/// Codes and scales of a tensor, whole.
#[derive(Debug)]
pub(super) struct Coded<'a> {
    pub(super) len: usize,
    pub(super) codes: &'a [u8],
    pub(super) scales: &'a [u8],
}

impl Scheme {
    /// The scheme by which a file will be quantized.
    pub(super) fn new(
        contents: &Contents<'_>,
        format: StateFormat,
        signed: bool,
    ) -> anyhow::Result<Self> {
        ensure!(
            !contents.metadata.contains_key(KEY),
            "the metadata have '{KEY}' already: is this file quantized?"
        );
        let is_float = |view: &TensorView<'_>| is_float(view.dtype());
        let original = |(name, view): (&String, &TensorView<'_>)| {
            (name.clone(), Original { dtype: view.dtype(), shape: view.shape().to_vec() })
        };
        let tensors: BTreeMap<String, Original> =
            contents.tensors.iter().filter(|(_, view)| is_float(view)).map(original).collect();
        let scheme = Self { version: VERSION, format, signed, tensors };
        for name in scheme.tensors.keys() {
            if let Some(scales) =
                scheme.scales_of(name).filter(|s| contents.tensors.contains_key(s))
            {
                bail!(
                    "tensor '{name}': its scales would be named '{scales}', as another tensor is"
                );
            }
        }
        Ok(scheme)
    }

    /// The name of a tensor's scales.
    pub(super) fn scales_of(&self, name: &str) -> Option<String> {
        format::suffix(self.format).map(|suffix| format!("{name}{suffix}"))
    }

    /// The metadata with this scheme.
    pub(super) fn write(
        &self,
        metadata: &BTreeMap<String, String>,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut metadata = metadata.clone();
        metadata.insert(KEY.to_owned(), serde_json::to_string(self)?);
        Ok(metadata)
    }

    /// The scheme of a quantized file, and the metadata without it.
    pub(super) fn read(
        contents: &Contents<'_>,
    ) -> anyhow::Result<(Self, BTreeMap<String, String>)> {
        let mut metadata = contents.metadata.clone();
        let text = metadata.remove(KEY).with_context(|| {
            format!("the metadata have no '{KEY}': the file was not made by fallline quantize")
        })?;
        let scheme = Self::parse(&text).with_context(|| format!("metadata '{KEY}'"))?;
        Ok((scheme, metadata))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let (version, found) = (&value["version"], &value["format"]);
        ensure!(*version == VERSION, "the version must be {VERSION}, found {version}");
        let names = format::names();
        ensure!(
            found.as_str().is_some_and(|name| names.contains(&name)),
            "the format must be one of {}, found {found}",
            names.join(", ")
        );
        let scheme: Self = serde_json::from_value(value)?;
        for (name, original) in &scheme.tensors {
            let Original { dtype, .. } = original;
            ensure!(
                is_float(*dtype),
                "tensor '{name}': the dtype must be F32, F16 or BF16, found {dtype}"
            );
        }
        Ok(scheme)
    }

    /// The codes and scales of each tensor, if all are there and as they must be.
    pub(super) fn coded<'a>(&self, contents: &Contents<'a>) -> anyhow::Result<Vec<Coded<'a>>> {
        let view = |name: &str| {
            let view = contents.tensors.get(name);
            view.with_context(|| format!("tensor '{name}': must be there, found none"))
        };
        let mut all = Vec::new();
        for (name, Original { shape, .. }) in &self.tensors {
            let len = elements(shape)
                .with_context(|| format!("tensor '{name}': the shape {shape:?} is too large"))?;
            let codes = view(name)?;
            let dtype = format::dtype(self.format, self.signed);
            check(name, codes, dtype, &format::shape(self.format, shape, len))?;
            let mut coded = Coded { len, codes: codes.data(), scales: &[] };
            let form = format::scales(self.format, len)?;
            if let (Some(name), Some((dtype, shape))) = (self.scales_of(name), form) {
                let scales = view(&name)?;
                check(&name, scales, dtype, &shape)?;
                coded.scales = scales.data();
            }
            all.push(coded);
        }
        Ok(all)
    }

    /// Whether the tensor is the scales of another.
    pub(super) fn is_scales(&self, name: &str) -> bool {
        let owner = format::suffix(self.format).and_then(|suffix| name.strip_suffix(suffix));
        owner.is_some_and(|owner| self.tensors.contains_key(owner))
    }
}

/// Whether tensors of this dtype are quantized.
fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The number of elements, if their bytes can be counted.
fn elements(shape: &[usize]) -> Option<usize> {
    let len = shape.iter().try_fold(1usize, |len, dim| len.checked_mul(*dim))?;
    len.checked_mul(size_of::<f32>()).map(|_| len)
}

fn check(name: &str, view: &TensorView<'_>, dtype: Dtype, shape: &[usize]) -> anyhow::Result<()> {
    let found = view.dtype();
    ensure!(found == dtype, "tensor '{name}': the dtype must be {dtype}, found {found}");
    let found = view.shape();
    ensure!(found == shape, "tensor '{name}': the shape must be {shape:?}, found {found:?}");
    Ok(())
}
