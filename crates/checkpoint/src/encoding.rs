//! What an entry is in a file: one tensor, or codes and their scales.

use fallline::{BlockScales, Dtype, Encoding, SavedEntry, StateFormat};
use safetensors::Dtype as Tag;
use serde::{Deserialize, Serialize};

use crate::names;

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) tag: Tag,
    pub(crate) shape: Vec<usize>,
}

impl Tensor {
    /// `None`: more than this host can count.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        let elems = self.shape.iter().try_fold(1u64, |len, dim| len.checked_mul(*dim as u64))?;
        elems.checked_mul(self.tag.bitsize() as u64 / 8)
    }
}

/// What the bytes of a tensor mean, where its dtype does not say so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Meaning {
    Text,
    Remainder,
    /// Codes; `shape` is what they stand for.
    Blocks {
        format: StateFormat,
        signed: bool,
        shape: Vec<usize>,
    },
}

/// The tensors of an entry, codes before scales. `None`: this crate does not know its encoding.
pub(crate) fn tensors(entry: &SavedEntry) -> Option<Vec<Tensor>> {
    let shape = entry.shape.clone();
    let name = names::of_entry(entry);
    let one = |tag, shape| Some(vec![Tensor { name: name.clone(), tag, shape }]);
    match entry.encoding {
        Encoding::Numbers(dtype) => one(tag(dtype)?, shape),
        Encoding::Counts => one(Tag::U32, shape),
        Encoding::Text => one(Tag::U8, vec![usize::try_from(entry.size_bytes).ok()?]),
        Encoding::Remainder { elem_bytes: 1 } => one(Tag::U8, shape),
        Encoding::Remainder { elem_bytes: 2 } => one(Tag::U16, shape),
        Encoding::Blocks { format, signed } => {
            let elems = shape.iter().try_fold(1u64, |len, dim| len.checked_mul(*dim as u64))?;
            let BlockScales { dtype, block_elems } = format.scales()?;
            let scales = vec![usize::try_from(elems.div_ceil(block_elems)).ok()?];
            let codes = match format.code_bits() {
                8 => shape,
                _ => vec![usize::try_from(format.codes_size_bytes(elems)).ok()?],
            };
            let scales = Tensor { name: names::of_scales(&name), tag: tag(dtype)?, shape: scales };
            let mut tensors = one(code_tag(format, signed), codes)?;
            tensors.push(scales);
            Some(tensors)
        }
        _ => None,
    }
}

/// What the file must say of an entry beside its dtype.
pub(crate) fn meaning(entry: &SavedEntry) -> Option<Meaning> {
    match entry.encoding {
        Encoding::Text => Some(Meaning::Text),
        Encoding::Remainder { .. } => Some(Meaning::Remainder),
        Encoding::Blocks { format, signed } => {
            Some(Meaning::Blocks { format, signed, shape: entry.shape.clone() })
        }
        _ => None,
    }
}

/// The entry that a tensor with this meaning is. `None`: no entry is so.
pub(crate) fn entry(tensor: &Tensor, meaning: Option<Meaning>) -> Option<SavedEntry> {
    let shape = || tensor.shape.clone();
    let size_bytes = tensor.size_bytes()?;
    let (encoding, shape, size_bytes) = match (meaning, tensor.tag) {
        (None, Tag::F32) => (Encoding::Numbers(Dtype::F32), shape(), size_bytes),
        (None, Tag::F16) => (Encoding::Numbers(Dtype::F16), shape(), size_bytes),
        (None, Tag::BF16) => (Encoding::Numbers(Dtype::Bf16), shape(), size_bytes),
        (None, Tag::U32) => (Encoding::Counts, shape(), size_bytes),
        (Some(Meaning::Text), Tag::U8) => (Encoding::Text, Vec::new(), size_bytes),
        (Some(Meaning::Remainder), Tag::U8) => {
            (Encoding::Remainder { elem_bytes: 1 }, shape(), size_bytes)
        }
        (Some(Meaning::Remainder), Tag::U16) => {
            (Encoding::Remainder { elem_bytes: 2 }, shape(), size_bytes)
        }
        (Some(Meaning::Blocks { format, signed, shape }), _) => {
            let elems = shape.iter().try_fold(1u64, |len, dim| len.checked_mul(*dim as u64))?;
            (Encoding::Blocks { format, signed }, shape, format.blocks_size_bytes(elems))
        }
        _ => return None,
    };
    let (of, what) = names::parse(&tensor.name);
    Some(SavedEntry { tensor: of, what, encoding, shape, size_bytes })
}

/// safetensors' name of a format of numbers.
fn tag(dtype: Dtype) -> Option<Tag> {
    match dtype {
        Dtype::F32 => Some(Tag::F32),
        Dtype::F16 => Some(Tag::F16),
        Dtype::Bf16 => Some(Tag::BF16),
        _ => None,
    }
}

/// The one of codes: as `fallline quantize` has them.
const fn code_tag(format: StateFormat, signed: bool) -> Tag {
    match format {
        StateFormat::Companded if signed => Tag::I8,
        StateFormat::Fp8 => Tag::F8_E4M3,
        _ => Tag::U8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every encoding of a tensor of this shape.
    fn entries(shape: &[usize]) -> Vec<SavedEntry> {
        let elems: usize = shape.iter().product();
        let mut encodings: Vec<(Encoding, u64)> = Vec::new();
        for &dtype in Dtype::ALL {
            encodings.push((Encoding::Numbers(dtype), dtype.size_bytes() * elems as u64));
        }
        encodings.push((Encoding::Counts, 4 * elems as u64));
        for elem_bytes in [1, 2] {
            let size = u64::from(elem_bytes) * elems as u64;
            encodings.push((Encoding::Remainder { elem_bytes }, size));
        }
        for &format in StateFormat::ALL.iter().filter(|format| format.scales().is_some()) {
            for signed in [false, true] {
                let size = format.blocks_size_bytes(elems as u64);
                encodings.push((Encoding::Blocks { format, signed }, size));
            }
        }
        let entry = |(encoding, size_bytes)| SavedEntry {
            tensor: Some("w".into()),
            what: "state/exp_avg".into(),
            encoding,
            shape: shape.to_vec(),
            size_bytes,
        };
        encodings.into_iter().map(entry).collect()
    }

    #[test]
    fn every_encoding_comes_back_from_its_tensors() {
        for shape in [&[][..], &[0], &[1], &[3, 5], &[257], &[2, 3, 129]] {
            for saved in entries(shape) {
                let tensors = tensors(&saved).expect("known");
                assert_eq!(entry(&tensors[0], meaning(&saved)), Some(saved.clone()));
                let scaled = matches!(saved.encoding, Encoding::Blocks { .. });
                assert_eq!(tensors.len(), 1 + usize::from(scaled), "{saved:?}");
            }
        }
        let text = SavedEntry {
            tensor: Some("w".into()),
            what: "rule".into(),
            encoding: Encoding::Text,
            shape: vec![],
            size_bytes: 5,
        };
        assert_eq!(entry(&tensors(&text).unwrap()[0], meaning(&text)), Some(text));
    }

    #[test]
    fn what_means_nothing_is_nothing() {
        let tensor = |tag| Tensor { name: "state/x/w".into(), tag, shape: vec![3] };
        assert_eq!(entry(&tensor(Tag::F64), None), None);
        assert_eq!(entry(&tensor(Tag::U8), None), None);
        assert_eq!(entry(&tensor(Tag::F32), Some(Meaning::Text)), None);
        let shape = vec![usize::MAX, 3];
        assert_eq!(entry(&Tensor { shape, ..tensor(Tag::F32) }, None), None);
    }
}
