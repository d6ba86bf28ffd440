//! What a file holds, and what becomes of one that is not as it was written.

use std::{fs, path::Path};

use fallline::{
    Adam, AdamW, Dtype, Group, IntoRule, Lion, Optimizer, Precision, StateFormat, TensorSpec,
};
use fallline_checkpoint::{Checkpoint, Error};
use safetensors::{Dtype as Tag, SafeTensors};

use crate::common::{begin, differ, gpu, held, optimizer, run, says, scratch, specs, values};

/// A small optimizer that has taken a step.
fn trained() -> Optimizer {
    let group = Group::new("all", AdamW::new()).state(StateFormat::Int4).min_state_elems(0);
    let specs = [
        TensorSpec::new("w", [20, 15]).dtype(Dtype::Bf16).precision(Precision::Remainder),
        TensorSpec::new("b", [5]),
    ];
    let mut trained = optimizer(&gpu(), &group, &specs, 3);
    for (id, len) in [("w", 300), ("b", 5)].map(|(name, len)| (trained.id(name).unwrap(), len)) {
        trained.write_param(id, &values(1, len)).unwrap();
        trained.write_grad(id, &values(2, len)).unwrap();
    }
    trained.step(&fallline::Step::new()).unwrap();
    trained
}

#[test]
fn safetensors_reads_them() {
    let optimizer = trained();
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &optimizer, 12, &serde_json::json!({ "epoch": 1 })).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (header_len, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert!((header_len + 8).is_multiple_of(8));
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["fallline_checkpoint"], "1");
    assert_eq!((&*metadata["step"], &*metadata["extra"]), ("12", r#"{"epoch":1}"#));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (name, tag, shape) in [
        ("param/w", Tag::BF16, &[20, 15][..]),
        ("param/b", Tag::F32, &[5]),
        ("remainder/w", Tag::U16, &[20, 15]),
        ("state/exp_avg/w", Tag::U8, &[150]),
        ("scale/exp_avg/w", Tag::F32, &[3]),
        ("step/w", Tag::U32, &[]),
        ("number/b", Tag::U32, &[]),
        ("rule/w", Tag::U8, &[5]),
        ("seed", Tag::U32, &[1]),
    ] {
        let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((view.dtype(), view.shape()), (tag, shape), "{name}");
        let crc = format!("{:08x}", crc32fast::hash(view.data()));
        assert_eq!(metadata[&format!("crc32/{name}")], crc, "{name}");
        // Whoever maps the file finds every element where one may be.
        let begin = header.info(name).unwrap().data_offsets.0 + 8 + header_len;
        assert!(begin.is_multiple_of(tag.bitsize() / 8), "{name}");
    }
    assert_eq!(tensors.tensor("rule/w").unwrap().data(), b"adamw");
    let signed = r#"{"blocks":{"format":"int4","signed":true,"shape":[20,15]}}"#;
    assert_eq!(metadata["encoding/state/exp_avg/w"], signed);
    assert!(metadata["encoding/state/exp_avg_sq/w"].contains(r#""signed":false"#));

    // What is read without an optimizer is what the engine gave.
    let (checkpoint, held) = (Checkpoint::open(&path).unwrap(), held(&optimizer));
    assert_eq!(checkpoint.entries().len(), held.entries.len());
    for (entry, bytes) in held.entries.iter().zip(&held.bytes) {
        assert_eq!(checkpoint.read(entry).unwrap(), *bytes, "{entry}");
    }
}

/// Opens and loads; what is wrong is told before anything changes.
#[track_caller]
fn refuses(path: &Path, optimizer: &mut Optimizer) -> Error {
    let before = held(optimizer);
    let error = Checkpoint::open(path).and_then(|checkpoint| checkpoint.load(optimizer));
    let error = error.expect_err("it is not as it was written");
    assert_eq!(differ(&held(optimizer), &before), [""; 0], "{error}");
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    error
}

#[test]
fn a_bit_that_differs_anywhere_is_found() {
    let mut trained = trained();
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &trained, 12, &()).unwrap();
    let good = fs::read(&path).unwrap();
    let opens = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Checkpoint::open(&path).and_then(|checkpoint| checkpoint.verify())
    };
    opens(&good).unwrap();
    for place in 0..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(opens(&bytes).is_err(), "byte {place} of {}", good.len());
    }
    let mut bytes = good.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(refuses(&path, &mut trained), Error::Damaged { .. }));
}

#[test]
fn a_file_of_another_length_is_found() {
    let mut trained = trained();
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &trained, 12, &()).unwrap();
    let good = fs::read(&path).unwrap();
    for len in 0..good.len() {
        fs::write(&path, &good[..len]).unwrap();
        let error = Checkpoint::open(&path).map(|_| ()).unwrap_err();
        let known = matches!(error, Error::FileLength { .. } | Error::NotSafetensors { .. });
        assert!(known, "{len}: {error:?}");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    let (len, error) = (good.len(), refuses(&path, &mut trained).to_string());
    assert!(error.ends_with(&format!("must have {len} bytes by its header, found {}", len - 1)));
    fs::write(&path, [&good[..], b"\0"].concat()).unwrap();
    assert!(matches!(refuses(&path, &mut trained), Error::FileLength { .. }));
}

#[test]
fn foreign_files_are_told_by_what_they_are() {
    let mut trained = trained();
    let (_folder, path) = scratch();
    let mut says = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = refuses(&path, &mut trained).to_string();
        error.replace(&*path.to_string_lossy(), "FILE")
    };
    assert_eq!(says(b""), "FILE is no safetensors file: it has 0 bytes");
    let pickle = says(b"PK\x03\x04\x00\x00\x08\x08 a file of torch");
    assert!(pickle.starts_with("FILE is no safetensors file: its header would have "), "{pickle}");
    let none = || std::iter::empty::<(&str, safetensors::tensor::TensorView<'_>)>();
    let plain = safetensors::serialize(none(), None).unwrap();
    assert_eq!(
        says(&plain),
        "FILE is a safetensors file, but no checkpoint of fallline: its metadata have no \
         'fallline_checkpoint'"
    );
    let json = says(b"\x08\0\0\0\0\0\0\0not JSON");
    assert!(json.starts_with("FILE is no safetensors file: expected ident"), "{json}");

    let later = [("fallline_checkpoint".to_owned(), "2".to_owned())].into();
    let later = safetensors::serialize(none(), Some(later)).unwrap();
    let expected = "FILE is a checkpoint of version 2, known are those up to 1";
    assert_eq!(says(&later), expected);
    let (_, missing) = scratch();
    let error = Checkpoint::open(&missing).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Io { action: "open", .. }), "{error:?}");
}

#[test]
fn what_does_not_fit_is_named_before_anything_is_written() {
    let gpu = gpu();
    let plain = [TensorSpec::new("w", [64, 100]), TensorSpec::new("b", [5])];
    let build = |rule: std::sync::Arc<dyn fallline::Rule>, specs: &[TensorSpec]| {
        let built = optimizer(&gpu, &Group::new("all", rule), specs, 0);
        specs.iter().for_each(|spec| {
            let id = built.id(&spec.name).unwrap();
            built.write_param(id, &values(1, spec.shape.iter().product())).unwrap();
        });
        built
    };
    let adamw = || AdamW::new().into_rule();
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &build(adamw(), &plain), 0, &()).unwrap();
    let refused = |mut optimizer: Optimizer, expected: &str| {
        let error = refuses(&path, &mut optimizer);
        assert_eq!(says(&error), format!("cannot load {}: {expected}", path.display()));
    };
    let more = [plain.as_slice(), &[TensorSpec::new("more", [1])]].concat();
    refused(build(adamw(), &more), "tensor 'more' was not saved");
    refused(
        build(adamw(), &plain[..1]),
        "tensor 'b' was saved, and the optimizer has no such thing",
    );
    let turned = [TensorSpec::new("w", [100, 64]), plain[1].clone()];
    let of_w = "of tensor 'w' must be f32 [100, 64], but was saved as f32 [64, 100]";
    refused(
        build(adamw(), &turned),
        &format!("param {of_w}; state/exp_avg {of_w}; state/exp_avg_sq {of_w}"),
    );
    refused(
        build(Adam::new().into_rule(), &plain),
        "rule of tensor 'w' must be adam, but was saved as adamw",
    );
    refused(
        build(Lion::new().into_rule(), &plain),
        "state/exp_avg_sq of tensor 'w' was saved, and the optimizer has no such thing; \
         state/exp_avg_sq of tensor 'b' was saved, and the optimizer has no such thing",
    );
    let half = [plain[0].clone().dtype(Dtype::F16), plain[1].clone()];
    refused(
        build(adamw(), &half),
        "param of tensor 'w' must be f16 [64, 100], but was saved as f32 [64, 100]",
    );
}

/// Tensors whose names look like others' are told apart.
#[test]
fn names_are_free() {
    let gpu = gpu();
    let names =
        ["a", "a/b", "state/exp_avg/a", "scale/exp_avg/a", "", "__metadata__", "crc32\":\"0"];
    let specs = names.map(|name| TensorSpec::new(name, [4]));
    let group = Group::new("all", AdamW::new()).state(StateFormat::Int8).min_state_elems(0);
    let mut straight = optimizer(&gpu, &group, &specs, 0);
    for (id, seed) in names.map(|name| straight.id(name).unwrap()).into_iter().zip(0..) {
        straight.write_param(id, &values(seed, 4)).unwrap();
        straight.write_grad(id, &values(seed + 10, 4)).unwrap();
    }
    straight.step(&fallline::Step::new()).unwrap();
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &straight, 1, &()).unwrap();
    let mut resumed = optimizer(&gpu, &group, &specs, 0);
    Checkpoint::open(&path).unwrap().load(&mut resumed).unwrap();
    assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0]);
}

/// The entries' order in a file is that of its bytes, and an optimizer has its own.
#[test]
fn an_empty_run_is_a_checkpoint_too() {
    let gpu = gpu();
    let group = Group::new("all", AdamW::new());
    let specs = specs(Dtype::F32, Precision::Nearest);
    let mut first = optimizer(&gpu, &group, &specs, 1);
    begin(&first);
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &first, 0, &()).unwrap();
    let mut second = optimizer(&gpu, &group, &specs, 1);
    Checkpoint::open(&path).unwrap().load(&mut second).unwrap();
    run(&mut first, 0..2);
    run(&mut second, 0..2);
    assert_eq!(differ(&held(&first), &held(&second)), [""; 0]);
}
