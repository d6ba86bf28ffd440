//! The header of a file: which tensors it has, what they mean, and all checksums.
//!
//! It is safetensors' own, and so are the tensors behind it. Of its metadata, which are strings, these are the
//! checkpoint's:
//!
//! ```text
//! fallline_checkpoint    the version of the format
//! crc32                  of all bytes before the data, with these eight digits as zeros
//! step                   the caller's step, decimal
//! extra                  whatever the caller saves besides, as JSON
//! groups                 names, rules, hyperparameters and tensors, as JSON
//! crc32/<tensor>         of the tensor's bytes
//! encoding/<tensor>      what the bytes mean where the dtype does not say so, as JSON
//! ```
//!
//! Checksums are CRC-32 as zlib has it, in eight hexadecimal digits: so that a header is as long before they are
//! known as behind.

use std::{collections::BTreeMap, path::Path};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;

use crate::{
    Error, FORMAT_VERSION, Result, SavedGroup,
    encoding::{Meaning, Tensor},
};

/// Bytes before the header, which give its length.
pub(crate) const LEN_BYTES: usize = 8;

/// The longest header that safetensors reads.
pub(crate) const MAX_LEN: u64 = 100_000_000;

const VERSION_KEY: &str = "fallline_checkpoint";
const CRC_KEY: &str = "crc32";
const CRC_OF: &str = "crc32/";
const ENCODING_OF: &str = "encoding/";

/// What comes before the digits of the header's own checksum. No string of JSON has it within.
const CRC_MARK: &[u8] = b"\"crc32\":\"";
const NO_CRC: [u8; 8] = *b"00000000";

/// A tensor with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(crate) tensor: Tensor,
    pub(crate) meaning: Option<Meaning>,
    /// Its bytes, counted from the first behind the header.
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) crc: u32,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) step: u64,
    /// JSON.
    pub(crate) extra: String,
    pub(crate) groups: Vec<SavedGroup>,
    /// In the order of their bytes.
    pub(crate) tensors: Vec<Placed>,
}

/// As safetensors has it, in an order that is always the same.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<&'a str, TensorInfo>,
}

impl Header {
    /// All bytes before the data. How many they are does not depend on checksums.
    pub(crate) fn to_bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let failed = |reason: String| Error::NotSafetensors { path: path.to_owned(), reason };
        let json = |error: serde_json::Error| failed(error.to_string());
        let mut metadata = BTreeMap::from([
            (VERSION_KEY.to_owned(), FORMAT_VERSION.to_string()),
            (CRC_KEY.to_owned(), String::from_utf8_lossy(&NO_CRC).into_owned()),
            ("step".to_owned(), self.step.to_string()),
            ("extra".to_owned(), self.extra.clone()),
            ("groups".to_owned(), serde_json::to_string(&self.groups).map_err(json)?),
        ]);
        let mut tensors = BTreeMap::new();
        for Placed { tensor, meaning, begin, end, crc } in &self.tensors {
            let name = tensor.name.as_str();
            metadata.insert(format!("{CRC_OF}{name}"), format!("{crc:08x}"));
            if let Some(meaning) = meaning {
                let text = serde_json::to_string(meaning).map_err(json)?;
                metadata.insert(format!("{ENCODING_OF}{name}"), text);
            }
            let place = |byte: u64| {
                usize::try_from(byte).map_err(|_| failed("too many bytes for this host".into()))
            };
            let data_offsets = (place(*begin)?, place(*end)?);
            let info = TensorInfo { dtype: tensor.tag, shape: tensor.shape.clone(), data_offsets };
            if tensors.insert(name, info).is_some() {
                let reason = "is there twice".into();
                return Err(Error::Tensor { path: path.to_owned(), tensor: name.into(), reason });
            }
        }
        let mut text = serde_json::to_vec(&Json { metadata, tensors }).map_err(json)?;
        // So the data begin where any of their elements may.
        text.resize(text.len().next_multiple_of(8), b' ');
        let len = text.len() as u64;
        if len > MAX_LEN {
            return Err(failed(format!("its header has {len} bytes, at most {MAX_LEN} are read")));
        }
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend(text);
        if let Some(digits) = crc_digits(&bytes) {
            let crc = format!("{:08x}", crc32fast::hash(&bytes));
            bytes[digits..digits + NO_CRC.len()].copy_from_slice(crc.as_bytes());
        }
        Ok(bytes)
    }

    /// What the bytes before the data say, and how many bytes the data have.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<(Self, u64)> {
        let foreign = |reason: String| Error::NotCheckpoint { path: path.to_owned(), reason };
        let wrong = |error: serde_json::Error| Error::NotSafetensors {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let text = bytes.get(LEN_BYTES..).unwrap_or_default();
        let parsed: Metadata = serde_json::from_slice(text).map_err(wrong)?;
        let metadata = parsed.metadata().clone().unwrap_or_default();
        let value = |key: &str| {
            let missing = || foreign(format!("its metadata have no '{key}'"));
            metadata.get(key).ok_or_else(missing)
        };
        let version = value(VERSION_KEY)?;
        if version.parse() != Ok(FORMAT_VERSION) {
            let found = version.clone();
            return Err(Error::Version { path: path.to_owned(), found, known: FORMAT_VERSION });
        }
        check_crc(bytes, value(CRC_KEY)?, path)?;

        let no_number = |key: &str| foreign(format!("its '{key}' is no number"));
        let step = value("step")?.parse().map_err(|_| no_number("step"))?;
        let groups = serde_json::from_str(value("groups")?)
            .map_err(|error| foreign(format!("its 'groups': {error}")))?;
        let mut tensors = Vec::new();
        for name in parsed.offset_keys() {
            let Some(info) = parsed.info(&name) else { continue };
            let crc = value(&format!("{CRC_OF}{name}"))?;
            let meaning = metadata.get(&format!("{ENCODING_OF}{name}"));
            let meaning = meaning.map(|text| serde_json::from_str(text)).transpose();
            let meaning = meaning.map_err(|error| Error::Tensor {
                path: path.to_owned(),
                tensor: name.clone(),
                reason: format!("has an encoding that is not known: {error}"),
            })?;
            let (begin, end) = info.data_offsets;
            tensors.push(Placed {
                crc: u32::from_str_radix(crc, 16).map_err(|_| no_number(&name))?,
                tensor: Tensor { name, tag: info.dtype, shape: info.shape.clone() },
                meaning,
                begin: begin as u64,
                end: end as u64,
            });
        }
        let header = Self { step, extra: value("extra")?.clone(), groups, tensors };
        Ok((header, parsed.data_len() as u64))
    }
}

/// Where the digits of the header's own checksum begin.
fn crc_digits(bytes: &[u8]) -> Option<usize> {
    let mark = bytes.windows(CRC_MARK.len()).position(|window| window == CRC_MARK)?;
    let digits = mark + CRC_MARK.len();
    bytes.get(digits..digits + NO_CRC.len()).map(|_| digits)
}

fn check_crc(bytes: &[u8], expected: &str, path: &Path) -> Result<()> {
    let mut bytes = bytes.to_vec();
    if let Some(digits) = crc_digits(&bytes) {
        bytes[digits..digits + NO_CRC.len()].copy_from_slice(&NO_CRC);
    }
    let found = crc32fast::hash(&bytes);
    // As it is written: digits in capitals are not what was.
    if format!("{found:08x}") == expected {
        return Ok(());
    }
    let expected = u32::from_str_radix(expected, 16).unwrap_or(!found);
    Err(Error::Damaged { path: path.to_owned(), what: "the header".into(), expected, found })
}
