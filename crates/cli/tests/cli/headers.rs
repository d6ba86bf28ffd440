//! Files that are no safetensors files: each message names what is wrong, once; and odd ones that are.

use std::{collections::HashMap, fs, path::PathBuf};

use safetensors::Dtype;

use crate::common::{Tensor, convert, read, scratch, write};

/// A file of this header and data.
fn file(name: &str, header: &[u8], data: &[u8]) -> PathBuf {
    let path = scratch(name);
    let len = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&len[..], header, data].concat()).unwrap();
    path
}

/// What is said of a file, by each command.
#[track_caller]
fn says(name: &str, header: &[u8], data: &[u8], expected: &str) {
    let (path, to) = (file(name, header, data), scratch("headers.never"));
    for command in ["quantize", "dequantize"] {
        let ran = convert(command, &path, &to, &[]);
        let line = ran.err.trim_end().to_owned();
        ran.says(&format!("{name}: {expected}"));
        // No cause twice, and nothing about data that are whole.
        let causes: Vec<&str> = line.split(": ").collect();
        let is_new = |(index, cause): (usize, &&str)| !causes[..index].contains(cause);
        assert!(causes.iter().enumerate().all(is_new), "{line}");
    }
    assert!(!to.exists());
}

const W: &str = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;

#[test]
fn a_header_that_is_no_json_is_named() {
    let wrong = |name: &str, header: &[u8], expected: &str| {
        let expected = format!("not a safetensors file: {expected}");
        says(name, header, &1f32.to_le_bytes(), &expected);
    };
    let whole = format!("{{{W}}}");
    let behind = 8 + whole.len();
    let padded = |padding: &str| format!("{whole}{padding}").into_bytes();
    let spaces = "behind its JSON the header may have spaces only, found";
    wrong("h1", &padded("\0\0"), &format!("{spaces} 0x00 at byte {behind}"));
    wrong("h2", &padded("  x"), &format!("{spaces} 0x78 at byte {}", behind + 2));
    wrong("h3", &padded("\n{}"), &format!("{spaces} 0x7b at byte {}", behind + 1));
    let len = whole.len() - 1;
    let part = format!("the header's JSON is not whole in its {len} bytes");
    wrong("h4", &whole.as_bytes()[..len], &part);
    wrong("h5", b"", "the header's JSON is not whole in its 0 bytes");
    wrong("h6", b"\0\0\0\0", "the header is no JSON object at byte 8: expected value");
    wrong("h7", b"[1]", "the header is no JSON object at byte 8: invalid type: sequence");
    wrong("h8", b"{\"a\xff\":1}", "the header is no UTF-8 at byte 11");
    wrong("h9", b"{\n 'a': 1}", "the header is no JSON object at byte 11: key must be a string");
    // Lengths that no header has: a file of another kind.
    let text = scratch("h10");
    fs::write(&text, "This is a text and no tensor.").unwrap();
    let limit = "h10: not a safetensors file: the header's length, its first 8 bytes, must be at most \
                 100000000, found ";
    convert("quantize", &text, &scratch("headers.never"), &[]).says(limit);
}

#[test]
fn entries_that_are_not_to_the_format_are_named() {
    let wrong = |name: &str, entries: &str, expected: &str| {
        let header = format!("{{{entries}}}");
        let expected = format!("not a safetensors file: {expected}");
        says(name, header.as_bytes(), &[0; 8], &expected);
    };
    let meta = |value: &str| format!(r#""__metadata__":{value},{W}"#);
    let text = "__metadata__: the value of 'a' must be a string, found";
    wrong("e1", &meta(r#"{"a":1}"#), &format!("{text} 1"));
    wrong("e2", &meta(r#"{"b":"","a":{"c":"d"}}"#), &format!("{text} an object"));
    wrong("e3", &meta("[]"), "__metadata__: must be an object, found []");
    wrong("e4", &format!("{W},{W}"), "the header has 'w' twice");
    let empty = r#""__metadata__":{}"#;
    wrong("e5", &format!("{empty},{empty}"), "the header has '__metadata__' twice");
    wrong("e6", r#""w":7"#, "tensor 'w': must be an object, found 7");

    let w = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#""w":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let f32 = "\"F32\"";
    let dtype = "tensor 'w': the dtype: unknown variant `F33`, expected one of `BOOL`, ";
    wrong("e7", &w("\"F33\"", "[2]", "[0,8]"), dtype);
    for (name, key) in [("e8", "dtype"), ("e9", "shape"), ("e10", "data_offsets")] {
        let entry = w(f32, "[2]", "[0,8]").replace(key, "other");
        wrong(name, &entry, &format!("tensor 'w': the {key} is missing"));
    }
    let shape = "tensor 'w': the shape must be a list of whole numbers, found";
    wrong("e11", &w(f32, "[-2]", "[0,8]"), &format!("{shape} [-2]"));
    wrong("e12", &w(f32, "2", "[0,8]"), &format!("{shape} 2"));
    let offsets = "tensor 'w': the data_offsets must be two whole numbers, found";
    wrong("e13", &w(f32, "[2]", "[0]"), &format!("{offsets} [0]"));
    wrong("e14", &w(f32, "[2]", "[0,8.5]"), &format!("{offsets} [0,8.5]"));

    let size = "tensor 'w': F32 in the shape [3] is 12 bytes, but its data_offsets are";
    wrong("e15", &w(f32, "[3]", "[0,8]"), &format!("{size} [0, 8]"));
    wrong("e16", &w(f32, "[3]", "[8,0]"), &format!("{size} [8, 0]"));
    let large = "tensor 'w': the shape [9000000000000000000, 9] is too large";
    wrong("e17", &w(f32, "[9000000000000000000,9]", "[0,8]"), large);
    let odd = "tensor 'w': F4 in the shape [3] is no whole number of bytes";
    wrong("e18", &w("\"F4\"", "[3]", "[0,2]"), odd);
    let twice = "invalid JSON in header: duplicate field `dtype`";
    wrong("e19", &w("\"F32\",\"dtype\":\"F32\"", "[2]", "[0,8]"), twice);
}

#[test]
fn data_that_overlap_or_leave_gaps_are_named() {
    let two = |begin: u64| {
        let v =
            format!(r#""v":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{}]}}"#, begin + 4);
        format!("{{{v},{W}}}").into_bytes()
    };
    let must = "its data must begin where those before them end, at";
    let wrong = |name: &str, header: &[u8], expected: &str| {
        says(name, header, &[0; 16], &format!("not a safetensors file: tensor {expected}"));
    };
    wrong("o1", &two(2), &format!("'v': {must} 4 (after w), found 2"));
    wrong("o2", &two(8), &format!("'v': {must} 4 (after w), found 8"));
    let late = format!("{{{}}}", W.replace("[0,4]", "[4,8]"));
    wrong("o3", late.as_bytes(), &format!("'w': {must} 0 (after the header), found 4"));

    // The header is right here: it is the file that is too short or too long.
    let header = two(4);
    let data = 8 + header.len();
    let cut =
        format!("'v' should end at byte {}, but the file ends at byte {}", data + 8, data + 7);
    says("o4", &header, &[0; 7], &format!("not a whole safetensors file: tensor {cut}"));
    let cut = format!("'w' should end at byte {}, but the file ends at byte {data}", data + 4);
    says("o5", &header, &[], &format!("not a whole safetensors file: tensor {cut}"));
    let more = format!("the data end at byte {}, but the file ends at byte {}", data + 8, data + 9);
    says("o6", &header, &[0; 9], &format!("not a safetensors file: by the header {more}"));
    let more = "by the header the data end at byte 10, but the file ends at byte 11";
    says("o7", b"{}", &[0], &format!("not a safetensors file: {more}"));
}

#[test]
fn odd_files_are_whole() {
    // Spaces behind the JSON, dtypes of half a byte, tensors without elements.
    let header = r#"{"w":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]},
        "none":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]},
        "s":{"dtype":"F8_E8M0","shape":[2],"data_offsets":[4,6]},
        "__metadata__":{"a":"b"}}    "#;
    let (path, to) = (file("odd.whole", header.as_bytes(), b"\x124Vx\x7f\x80"), scratch("odd.to"));
    convert("quantize", &path, &to, &[]).good();
    let (found, metadata) = read(&to);
    let bytes_of = |name: &str| {
        let tensor: &Tensor = found.iter().find(|tensor| tensor.name == name).unwrap();
        (tensor.dtype, tensor.bytes.as_slice())
    };
    assert_eq!(bytes_of("w"), (Dtype::F4, &b"\x124Vx"[..]));
    assert_eq!(bytes_of("s"), (Dtype::F8_E8M0, &b"\x7f\x80"[..]));
    assert_eq!(metadata["a"], "b");

    let only = [("a", "b"), ("Z", "ü")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let path = write("odd.only", &[], HashMap::from(only.clone()));
    convert("quantize", &path, &to, &[]).good();
    let (found, mut metadata) = read(&to);
    assert!(found.is_empty() && metadata.remove("fallline").is_some());
    assert_eq!(metadata, HashMap::from(only));
}
