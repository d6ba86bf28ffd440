//! `fallline quantize` and `fallline dequantize`: everything that can be wrong with files and paths.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::Dtype;

use crate::common::{Tensor, convert, read, scratch, write};

#[test]
fn what_cannot_be_quantized_is_named() {
    let weight = |name: &str| Tensor::new(name, Dtype::F32, &[2], &[1.0, 2.0]);
    let to = scratch("never");
    let bad = |name: &str, tensors: &[Tensor], metadata, more: &[&str], expected: &str| {
        let from = write(name, tensors, metadata);
        convert("quantize", &from, &to, more).says(&format!("{name}: {expected}"));
        assert!(!to.exists());
    };
    let none = HashMap::new;
    let scales = Tensor::new("w.absmax", Dtype::I32, &[1], &[1.0]);
    let expected = "tensor 'w': its scales would be named 'w.absmax', as another tensor is";
    bad("clash", &[weight("w"), scales.clone()], none(), &[], expected);
    bad("clash4", &[weight("w"), scales.clone()], none(), &["--format", "int4"], expected);
    let other = scratch("no clash");
    convert("quantize", &write("no", &[weight("w"), scales], none()), &other, &["--format", "fp8"])
        .good();
    let mut many = vec![0.0; 600];
    (many[0], many[511]) = (-0.0, -0.25);
    let expected = "tensor 'w': --unsigned needs values >= 0, found -0.25 as element 511";
    let many = [weight("a"), Tensor::new("w", Dtype::F16, &[2, 300], &many)];
    bad("negative", &many, none(), &["--unsigned"], expected);
    let twice = scratch("clashing key");
    convert("quantize", &write("once", &[weight("w")], none()), &twice, &[]).good();
    bad("again", &read(&twice).0, read(&twice).1, &[], "the metadata have 'fallline' already");
    for more in [&["--signed", "--unsigned"][..], &["--format", "f32"], &["--format", "int5"]] {
        assert_eq!(convert("quantize", &twice, &to, more).code, Some(2), "{more:?}");
    }
}

/// Files of which one thing is not as quantize made it.
#[test]
fn what_cannot_be_dequantized_is_named() {
    let tensors = [
        Tensor::new("v", Dtype::F32, &[3], &[1.5; 3]),
        Tensor::new("w", Dtype::F32, &[2, 300], &[1.5; 600]),
    ];
    let from = write("whole.in", &tensors, HashMap::new());
    let to = scratch("not written");
    type Change = fn(&mut Vec<Tensor>, &mut String);
    let bad = |name: &str, format: &str, change: Change, expected: &str| {
        let whole = scratch(&format!("{name}.whole"));
        convert("quantize", &from, &whole, &["--format", format]).good();
        let (mut tensors, mut metadata) = read(&whole);
        let mut scheme = metadata.remove("fallline").unwrap();
        change(&mut tensors, &mut scheme);
        metadata.extend((!scheme.is_empty()).then(|| ("fallline".to_owned(), scheme)));
        let changed = write(name, &tensors, metadata);
        convert("dequantize", &changed, &to, &[]).says(&format!("{name}: {expected}"));
        assert!(!to.exists());
    };
    let w = "tensor 'w': the shape must be [2, 300], found [600]";
    bad("q1", "int8", |t, _| t[2].shape = vec![600], w);
    let w = "tensor 'w': the shape must be [300], found [299]";
    bad("q2", "int4", |t, _| (t[2].shape, _) = (vec![299], t[2].bytes.pop()), w);
    let w = "tensor 'w': the dtype must be U8, found I8";
    bad("q3", "int8", |t, _| t[2].dtype = Dtype::I8, w);
    bad("q4", "int8", |t, _| drop(t.remove(2)), "tensor 'w': must be there, found none");
    bad("q5", "fp8", |t, _| drop(t.remove(3)), "tensor 'w.scale': must be there, found none");
    let scales = "tensor 'w.absmax': the shape must be [3], found [3, 1]";
    bad("q6", "int8", |t, _| t[3].shape = vec![3, 1], scales);
    let scales = "tensor 'w.absmax': the shape must be [5], found [4]";
    bad("q7", "int4", |t, _| (t[3].shape, _) = (vec![4], t[3].bytes.truncate(16)), scales);
    let scales = "tensor 'w.absmax': the dtype must be F32, found I32";
    bad("q8", "int8", |t, _| t[3].dtype = Dtype::I32, scales);
    let none = "the metadata have no 'fallline': the file was not made by fallline quantize";
    bad("q9", "int8", |_, s| s.clear(), none);
    let key = |rest: &str| format!("metadata 'fallline': {rest}");
    let version = key("the version must be 1, found 2");
    bad("q10", "int8", |_, s| *s = s.replace("\"version\":1", "\"version\":2"), &version);
    let format = key("the format must be one of int8, int4, fp8, companded, bf16, found \"int5\"");
    bad("q11", "int8", |_, s| *s = s.replace("int8", "int5"), &format);
    bad("q12", "int8", |_, s| *s = "{".into(), &key("EOF while parsing"));
    bad("q13", "int8", |_, s| *s = "7".into(), &key("the version must be 1, found null"));
    let dtype = key("tensor 'v': the dtype must be F32, F16 or BF16, found I64");
    bad("q14", "int8", |_, s| *s = s.replacen("F32", "I64", 1), &dtype);
    let large = "tensor 'v': the shape [9000000000000000000, 9] is too large";
    bad("q15", "int4", |_, s| *s = s.replace("[3]", "[9000000000000000000,9]"), large);
    let more = key("unknown field `more`");
    bad("q16", "int8", |_, s| *s = s.replacen('{', "{\"more\":1,", 1), &more);
    // By signedness the codes of this format differ in their dtype.
    let signs = "tensor 'v': the dtype must be U8, found I8";
    bad("q17", "companded", |_, s| *s = s.replace("true", "false"), signs);
}

#[test]
fn files_that_break_off_say_at_which_byte() {
    let tensors = [Tensor::new("w", Dtype::F32, &[300], &[1.5; 300])];
    let (whole, to) = (scratch("break.whole"), scratch("break.to"));
    convert("quantize", &write("break.in", &tensors, HashMap::new()), &whole, &[]).good();
    let bytes = fs::read(whole).unwrap();
    let cut = scratch("break.cut");
    for len in [0, 20, bytes.len() - 1] {
        fs::write(&cut, &bytes[..len]).unwrap();
        for command in ["quantize", "dequantize"] {
            convert(command, &cut, &to, &[]).says("break.cut: not a whole safetensors file: ");
            convert(command, &cut, &to, &[]).says(&format!("the file ends at byte {len}"));
        }
    }
    assert!(!to.exists());
}

/// Before any work: even before it turns out that there is no such adapter.
#[test]
fn paths_that_cannot_be_used_are_found_first() {
    let tensors = [Tensor::new("w", Dtype::F32, &[2], &[1.0, 2.0])];
    let (from, small) = (write("paths.in", &tensors, HashMap::new()), scratch("paths.small"));
    convert("quantize", &from, &small, &[]).good();
    let adapter = ["--adapter", "no such adapter"];
    let missing = PathBuf::from("/no/such/folder/x");
    for (command, from) in [("quantize", &from), ("dequantize", &small)] {
        let before = fs::read(from).unwrap();
        let (file, name) = (from.to_str().unwrap(), from.file_name().unwrap().to_str().unwrap());
        convert(command, &missing, &small, &adapter).says("cannot read /no/such/folder/x: ");
        convert(command, from, &missing, &adapter).says("cannot write /no/such/folder/x: ");
        convert(command, from, &scratch(""), &adapter).says("it is a directory");
        convert(command, from, from, &adapter).refuses("is given for input and output");
        // By another name.
        convert(command, from, Path::new(name), &adapter).refuses("is given for input and output");
        let json = [&["--json", file][..], &adapter].concat();
        convert(command, from, &scratch("paths.to"), &json)
            .refuses("is given for input and output");
        let json = [&["--json", "paths.to"][..], &adapter].concat();
        convert(command, from, Path::new("paths.to"), &json).refuses("is given for two outputs");
        assert_eq!(fs::read(from).unwrap(), before);
    }
    assert!(!scratch("paths.to").exists());
}
