//! Whether a file is a safetensors file, and if not, what is wrong with it: its end is missing, or the
//! header, of which the first fault is named.

use std::{collections::HashSet, fmt};

use anyhow::{Context, anyhow, bail, ensure};
use safetensors::Dtype;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

/// Bytes before the header, which give its length.
const LEN_BYTES: usize = 8;

/// The longest header that the format has.
const MAX_LEN: u64 = 100_000_000;

/// Fails with what is wrong.
pub(super) fn check(bytes: &[u8]) -> anyhow::Result<()> {
    let len = bytes.len() as u64;
    let cut = |fault: String| anyhow!("not a whole safetensors file: {fault}");
    let wrong = |fault: anyhow::Error| anyhow!("not a safetensors file: {fault:#}");

    let Some((header_len, rest)) = bytes.split_first_chunk::<LEN_BYTES>() else {
        let place = format!("within the {LEN_BYTES} bytes of the header's length");
        return Err(cut(format!("the file ends at byte {len}, {place}")));
    };
    let header_len = u64::from_le_bytes(*header_len);
    if header_len > MAX_LEN {
        let limits = format!("must be at most {MAX_LEN}, found {header_len}");
        return Err(wrong(anyhow!("the header's length, its first {LEN_BYTES} bytes, {limits}")));
    }
    let header = usize::try_from(header_len).ok().and_then(|n| rest.get(..n));
    let header = header.ok_or_else(|| {
        cut(format!(
            "the header should be {header_len} bytes long, but the file ends at byte {len}"
        ))
    })?;

    let tensors = parse(header).map_err(wrong)?;
    let data_begins = LEN_BYTES as u64 + header_len;
    let end_of = |tensor: &Entry| data_begins.saturating_add(tensor.end as u64);
    if let Some(tensor) = tensors.iter().find(|tensor| end_of(tensor) > len) {
        let (name, end) = (&tensor.name, end_of(tensor));
        return Err(cut(format!(
            "tensor '{name}' should end at byte {end}, but the file ends at byte {len}"
        )));
    }
    let end = tensors.last().map_or(data_begins, end_of);
    if end < len {
        return Err(wrong(anyhow!(
            "by the header the data end at byte {end}, but the file ends at byte {len}"
        )));
    }
    Ok(())
}

/// A tensor, as the header has it.
#[derive(Debug)]
struct Entry {
    name: String,
    begin: usize,
    end: usize,
}

/// The tensors in the order of their data, if these follow upon each other.
fn parse(header: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let text = std::str::from_utf8(header).map_err(|error| {
        anyhow!("the header is no UTF-8 at byte {}", LEN_BYTES + error.valid_up_to())
    })?;
    let Object(entries) =
        serde_json::from_str::<Object>(text).map_err(|error| json_fault(text, &error))?;
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for (name, value) in entries {
        ensure!(names.insert(name.clone()), "the header has '{name}' twice");
        if name == "__metadata__" {
            check_metadata(&value).context(name)?;
        } else {
            let (begin, end) = offsets(&value).with_context(|| format!("tensor '{name}'"))?;
            tensors.push(Entry { name, begin, end });
        }
    }
    tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
    let (mut end, mut before) = (0, "the header");
    for tensor in &tensors {
        let Entry { name, begin, .. } = tensor;
        ensure!(
            *begin == end,
            "tensor '{name}': its data must begin where those before them end, at {end} \
             (after {before}), found {begin}"
        );
        (end, before) = (tensor.end, name.as_str());
    }
    Ok(tensors)
}

fn check_metadata(value: &Value) -> anyhow::Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let entries = value.as_object().with_context(|| must_be("an object", value))?;
    for (key, value) in entries {
        ensure!(value.is_string(), "the value of '{key}' {}", must_be("a string", value));
    }
    Ok(())
}

/// Where a tensor's data lie, if its dtype and shape are in order and take as many bytes.
fn offsets(value: &Value) -> anyhow::Result<(usize, usize)> {
    ensure!(value.is_object(), must_be("an object", value));
    let key = |key: &str| value.get(key).with_context(|| format!("the {key} is missing"));
    let dtype = Dtype::deserialize(key("dtype")?).map_err(|error| anyhow!("the dtype: {error}"))?;
    let shape = Vec::<usize>::deserialize(key("shape")?).map_err(|_| {
        anyhow!("the shape {}", must_be("a list of whole numbers", &value["shape"]))
    })?;
    let (begin, end) = <(usize, usize)>::deserialize(key("data_offsets")?).map_err(|_| {
        let found = must_be("two whole numbers", &value["data_offsets"]);
        anyhow!("the data_offsets {found}")
    })?;
    let elements = shape.iter().try_fold(1usize, |len, dim| len.checked_mul(*dim));
    let Some(bits) = elements.and_then(|len| len.checked_mul(dtype.bitsize())) else {
        bail!("the shape {shape:?} is too large");
    };
    ensure!(bits % 8 == 0, "{dtype} in the shape {shape:?} is no whole number of bytes");
    let size = bits / 8;
    ensure!(
        end.checked_sub(begin) == Some(size),
        "{dtype} in the shape {shape:?} is {size} bytes, but its data_offsets are [{begin}, {end}]"
    );
    Ok((begin, end))
}

fn must_be(expected: &str, found: &Value) -> String {
    match found {
        Value::Object(_) => format!("must be {expected}, found an object"),
        found => format!("must be {expected}, found {found}"),
    }
}

/// Where a header is no JSON, and why.
fn json_fault(text: &str, error: &serde_json::Error) -> anyhow::Error {
    if error.is_eof() {
        return anyhow!("the header's JSON is not whole in its {} bytes", text.len());
    }
    let lines_before: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let place = lines_before + error.column().saturating_sub(1);
    let (byte, found) = (LEN_BYTES + place, text.as_bytes().get(place).copied().unwrap_or(0));
    let reason = error.to_string();
    let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
    if reason == "trailing characters" {
        return anyhow!(
            "behind its JSON the header may have spaces only, found {found:#04x} at byte {byte}"
        );
    }
    anyhow!("the header is no JSON object at byte {byte}: {reason}")
}

/// What an object holds, in its order and also twice.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Object(entries))
    }
}
