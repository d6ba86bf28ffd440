//! `fallline quantize` and `fallline dequantize`: what a file becomes, what comes back, and what is told about it.

use std::{collections::HashMap, fs};

use safetensors::Dtype;
use serde_json::Value;

use crate::common::{Tensor, convert, read, scratch, write};

const FORMATS: [&str; 5] = ["int8", "int4", "fp8", "companded", "bf16"];

fn sign(signed: bool) -> &'static str {
    if signed { "--signed" } else { "--unsigned" }
}

/// Different values of either sign or none, up to 3 and above 1e-4, the largest of all blocks above 0.
fn values(len: usize, signed: bool) -> Vec<f32> {
    let value = |i: usize| {
        let magnitude = 1e-4 + (i as f32 * 0.618_034).fract().powi(3) * 2.5;
        match i % 32 {
            0 => 3.0,
            i if i % 3 == 1 && signed => -magnitude,
            _ => magnitude,
        }
    };
    (0..len).map(value).collect()
}

/// A tensor of every dtype in every shape that is awkward, and some that are copied.
fn awkward(signed: bool) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for shape in [&[][..], &[0, 4], &[1], &[127], &[2, 128], &[3, 1, 257], &[1001]] {
            let name = format!("{dtype:?}/{shape:?}");
            tensors.push(Tensor::new(&name, dtype, shape, &values(shape.iter().product(), signed)));
        }
    }
    tensors.push(Tensor::new("double", Dtype::F64, &[3], &[-1.0, 0.1, 1e30]));
    tensors.push(Tensor::new("numbers", Dtype::I32, &[2], &[1.0, -2.0]));
    tensors.push(Tensor { name: "no".into(), dtype: Dtype::BOOL, shape: vec![], bytes: vec![0] });
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

fn by_name<'a>(tensors: &'a [Tensor], name: &str) -> &'a Tensor {
    tensors.iter().find(|tensor| tensor.name == name).unwrap()
}

fn metadata() -> HashMap<String, String> {
    [("format", "pt"), ("note", "\"as it was\"")].map(|(k, v)| (k.into(), v.into())).into()
}

/// By how much of the largest magnitude a value may be off.
fn most(format: &str, signed: bool) -> f32 {
    match (format, signed) {
        ("int8", true) => 0.0071,
        ("int8", false) => 0.0036,
        ("int4", true) => 0.1126,
        ("int4", false) => 0.0626,
        ("fp8", _) => 0.0358,
        ("companded", _) => 0.012,
        _ => 0.0027,
    }
}

#[test]
fn every_format_comes_back() {
    for format in FORMATS {
        for signed in [true, false] {
            let name = |what: &str| format!("back.{format}.{signed}.{what}");
            let (tensors, what) = (awkward(signed), [sign(signed), "--format", format]);
            let from = write(&name("in"), &tensors, metadata());
            let (small, back) = (scratch(&name("small")), scratch(&name("back")));
            convert("quantize", &from, &small, &what).good();
            convert("dequantize", &small, &back, &[]).good();
            let (found, found_metadata) = read(&back);
            assert_eq!(found_metadata, metadata());
            assert_eq!(found.len(), tensors.len());
            for (was, is) in tensors.iter().zip(&found) {
                let form = |t: &Tensor| (t.name.clone(), t.dtype, t.shape.clone());
                assert_eq!(form(is), form(was));
                if !was.name.contains('/') {
                    assert_eq!(is, was, "copied");
                    continue;
                }
                let slack = if was.dtype == Dtype::BF16 { 0.004 } else { 0.0005 };
                for (was, is) in was.values().iter().zip(is.values()) {
                    let error = (was - is).abs();
                    assert!(error <= 3.0 * (most(format, signed) + slack), "{format} {was} {is}");
                }
            }
        }
    }
}

#[test]
fn codes_lie_in_the_file_as_documented() {
    let line = [1.0, -1.0, 0.0, 0.5, -1e-9];
    let from = write("lie.in", &[Tensor::new("w", Dtype::F32, &[5], &line)], metadata());
    let scheme = |format: &str| {
        format!(
            r#"{{"version":1,"format":"{format}","signed":true,"tensors":{{"w":{{"dtype":"F32","shape":[5]}}}}}}"#
        )
    };
    for (format, dtype, codes, suffix, scale_dtype, scale) in [
        (
            "int8",
            Dtype::U8,
            &[255, 0, 127, 219, 126][..],
            "absmax",
            Dtype::F32,
            &[0, 0, 128, 63][..],
        ),
        ("int4", Dtype::U8, &[0xf0, 0x7c, 0x70], "absmax", Dtype::F32, &[0, 0, 128, 63]),
        ("fp8", Dtype::F8_E4M3, &[0x7e, 0xfe, 0, 0x76, 0x80], "scale", Dtype::F32, &[]),
        ("companded", Dtype::I8, &[127, 129, 0, 85, 0], "scale", Dtype::BF16, &[128, 63]),
    ] {
        let to = scratch(&format!("lie.{format}"));
        convert("quantize", &from, &to, &["--format", format]).good();
        let (tensors, metadata) = read(&to);
        let shape = if format == "int4" { vec![3] } else { vec![5] };
        let name = String::from("w");
        let expected = Tensor { name, dtype, shape, bytes: codes.to_vec() };
        assert_eq!(*by_name(&tensors, "w"), expected, "{format}");
        let scales = by_name(&tensors, &format!("w.{suffix}"));
        assert_eq!((scales.dtype, &scales.shape[..]), (scale_dtype, &[1][..]));
        match format {
            "fp8" => assert_eq!(scales.values(), [1.0 / 448.0]),
            _ => assert_eq!(scales.bytes, scale, "{format}"),
        }
        assert_eq!(
            (metadata["fallline"].as_str(), metadata["format"].as_str()),
            (&*scheme(format), "pt")
        );
    }
    let to = scratch("lie.bf16");
    convert("quantize", &from, &to, &["--format", "bf16"]).good();
    assert_eq!(read(&to).0, [Tensor::new("w", Dtype::BF16, &[5], &line)]);
}

/// Where the largest magnitude of every block is positive: there is no -1 in int8 and int4.
#[test]
fn codes_stay_through_another_round() {
    for (format, signed) in [
        ("int8", true),
        ("int8", false),
        ("int4", true),
        ("int4", false),
        ("fp8", true),
        ("bf16", true),
    ] {
        let name = |what: &str| scratch(&format!("stay.{format}.{signed}.{what}"));
        let from = write(&format!("stay.{format}.{signed}.in"), &awkward(signed), metadata());
        let what = [sign(signed), "--format", format];
        let (once, back, twice, again) = (name("once"), name("back"), name("twice"), name("again"));
        convert("quantize", &from, &once, &what).good();
        convert("dequantize", &once, &back, &[]).good();
        convert("quantize", &back, &twice, &what).good();
        convert("dequantize", &twice, &again, &[]).good();
        for (once, twice) in read(&once).0.iter().zip(&read(&twice).0) {
            // A scale of fp8 is rounded twice.
            if !once.name.ends_with(".scale") {
                assert_eq!(once, twice, "{format}");
            }
        }
        for (back, again) in read(&back).0.iter().zip(&read(&again).0) {
            for (back, again) in back.values().iter().zip(again.values()) {
                assert!(back.to_bits().abs_diff(again.to_bits()) <= 1, "{format} {back} {again}");
            }
        }
    }
}

#[test]
fn a_tensor_larger_than_a_batch_is_whole() {
    let len = (1 << 22) + 300;
    let large = Tensor::new("large", Dtype::F32, &[len], &values(len, true));
    let small = Tensor::new("small", Dtype::F32, &[300], &large.values()[..300]);
    let from = write("large.in", &[large.clone(), small], HashMap::new());
    let (to, back) = (scratch("large.int4"), scratch("large.back"));
    convert("quantize", &from, &to, &["--format", "int4"]).good();
    let (tensors, _) = read(&to);
    // What the first and the last part became, alone. The last begins at another element of the row.
    let alone = write(
        "alone.in",
        &[Tensor::new("rest", Dtype::F32, &[300], &large.values()[1 << 22..])],
        HashMap::new(),
    );
    convert("quantize", &alone, &scratch("alone.int4"), &["--format", "int4"]).good();
    let (rest, _) = read(&scratch("alone.int4"));
    for (suffix, start, first) in [("", 1 << 21, 150), (".absmax", 1 << 17, 12)] {
        let large = &by_name(&tensors, &format!("large{suffix}")).bytes;
        assert_eq!(large[..first], by_name(&tensors, &format!("small{suffix}")).bytes[..first]);
        assert_eq!(large[start..], by_name(&rest, &format!("rest{suffix}")).bytes);
    }
    convert("dequantize", &to, &back, &[]).good();
    for (was, is) in large.values().iter().zip(by_name(&read(&back).0, "large").values()) {
        assert!((was - is).abs() <= 3.0 * 0.1126, "{was} {is}");
    }
}

#[test]
fn the_same_file_becomes_the_same_bytes() {
    let mut metadata = metadata();
    metadata.extend((0..9).map(|i| (format!("key \"{i}\""), "ä\n".into())));
    let from =
        write("same.in", &[Tensor::new("w", Dtype::F32, &[2], &[1.0, 2.0])], metadata.clone());
    let (to, back) = (scratch("same.to"), scratch("same.back"));
    let mut all = Vec::new();
    for _ in 0..2 {
        convert("quantize", &from, &to, &[]).good();
        convert("dequantize", &to, &back, &[]).good();
        assert_eq!(read(&back).1, metadata);
        all.push((fs::read(&to).unwrap(), fs::read(&back).unwrap()));
    }
    assert!(all[0] == all[1]);
}

#[test]
fn the_report_tells_sizes_and_errors() {
    let (json, to) = (scratch("told.json"), scratch("told"));
    let tensors = [
        Tensor::new("ids", Dtype::I32, &[2], &[1.0, 2.0]),
        Tensor::new("w", Dtype::BF16, &[2, 2], &[4.0, 3.0, 0.0, -2.0]),
    ];
    let from = write("told.in", &tensors, HashMap::new());
    let more = ["--format", "int4", "--json", json.to_str().unwrap()];
    let ran = convert("quantize", &from, &to, &more).good();
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["int4,", "signed"]);
    assert_eq!(lines[3], ["ids", "[2]", "I32", "copied", "8", "8", "-", "-", "-", "-"]);
    // 4, 2.65, 0 and -1.75, and in bf16: 2.65625.
    // Quantized once more, they stay.
    let errors = ["1.48e-1", "3.44e-1", "7.89e-2", "0"];
    assert_eq!(lines[4][..7], ["w", "[2,", "2]", "BF16", "int4", "8", "6"]);
    assert_eq!(lines[4][7..], errors);
    assert_eq!(
        [&lines[5][..3], &lines[5][3..]].concat(),
        [&["total", "16", "14"][..], &errors].concat()
    );
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!((&report["bytes"], &report["bytes_after"]), (&16.into(), &14.into()));
    let (ids, w) = (&report["tensors"][0], &report["tensors"][1]);
    assert!(ids["to"].is_null() && ids["error"].is_null(), "{ids}");
    assert_eq!((&w["to"], &w["error"]["max_abs"]), (&"int4".into(), &0.34375.into()));
    assert_eq!(report["error"], w["error"]);
    assert_eq!(w["error_again"]["max_abs"], 0.0);

    let ran = convert("dequantize", &to, &scratch("told.back"), &more[2..]).good();
    assert!(ran.out.contains("\nw       [2, 2]  int4"), "{}", ran.out);
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!((&report["bytes"], &report["bytes_after"]), (&14.into(), &16.into()));
}

/// The signed books have no -1, so a block whose largest magnitude is negative gets a smaller scale each time.
#[test]
fn the_report_tells_what_another_time_costs() {
    let values: Vec<f32> = values(5000, true).iter().map(|value| -value).collect();
    let from = write("again.in", &[Tensor::new("w", Dtype::F32, &[5000], &values)], HashMap::new());
    let json = scratch("again.json");
    for (format, costs) in [("int8", true), ("int4", true), ("fp8", false), ("companded", false)] {
        let more = ["--format", format, "--json", json.to_str().unwrap()];
        let ran = convert("quantize", &from, &scratch("again"), &more).good();
        assert!(ran.out.contains("again rms"), "{}", ran.out);
        let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        let again = report["error_again"]["relative_rms"].as_f64().unwrap();
        let once = report["error"]["relative_rms"].as_f64().unwrap();
        assert!(again < once && (again > 0.0) == costs, "{format}: {again} of {once}");
    }
}

#[test]
fn what_is_not_finite_is_counted() {
    let mut values = values(300, true);
    (values[3], values[4]) = (f32::INFINITY, f32::NAN);
    let tensors = [
        Tensor::new("fine", Dtype::F32, &[1], &[1.0]),
        Tensor::new("w", Dtype::F32, &[300], &values),
    ];
    let from = write("odd.in", &tensors, HashMap::new());
    for (format, after) in
        [("int8", 256), ("int4", 128), ("fp8", 256), ("companded", 32), ("bf16", 2)]
    {
        let to = scratch(&format!("odd.{format}"));
        let ran = convert("quantize", &from, &to, &["--format", format]).good();
        assert!(ran.out.contains(&format!("  2 -> {after}\n")), "{}", ran.out);
        let warning = format!("fallline: tensor 'w': 2 not finite, {after} afterwards, of 300\n");
        assert_eq!(ran.err, warning);
        let back = scratch(&format!("odd.{format}.back"));
        let ran = convert("dequantize", &to, &back, &[]).good();
        assert!(ran.err.contains(&format!("tensor 'w': {after} not finite")), "{}", ran.err);
        let found = by_name(&read(&back).0, "w").values();
        assert_eq!(found.iter().filter(|value| !value.is_finite()).count(), after);
    }
}

#[test]
fn tensors_come_back_in_another_format_if_asked_for() {
    let from = write("as.in", &awkward(true), HashMap::new());
    let (to, back) = (scratch("as.int8"), scratch("as.back"));
    convert("quantize", &from, &to, &[]).good();
    for (name, dtype) in [("f32", Dtype::F32), ("f16", Dtype::F16), ("bf16", Dtype::BF16)] {
        convert("dequantize", &to, &back, &["--dtype", name]).good();
        for tensor in read(&back).0.iter().filter(|tensor| tensor.name.contains('/')) {
            assert_eq!(tensor.dtype, dtype, "{}", tensor.name);
        }
    }
}

#[test]
fn files_without_tensors_to_quantize_are_copied() {
    let ids = [Tensor::new("ids", Dtype::I32, &[2], &[1.0, 2.0])];
    for (name, tensors) in [("none", &[][..]), ("ids", &ids)] {
        let from = write(&format!("{name}.in"), tensors, metadata());
        let (to, back) = (scratch(&format!("{name}.to")), scratch(&format!("{name}.back")));
        convert("quantize", &from, &to, &[]).good();
        convert("dequantize", &to, &back, &[]).good();
        assert_eq!(read(&back), (tensors.to_vec(), metadata()));
    }
}

/// Companded scales are rounded up, beyond what f16 holds.
#[test]
fn what_its_own_dtype_cannot_hold_afterwards_is_counted() {
    let tensors = [Tensor::new("w", Dtype::F16, &[2], &[65504.0, 1.0])];
    let (from, to) = (write("beyond.in", &tensors, HashMap::new()), scratch("beyond.to"));
    let ran = convert("quantize", &from, &to, &["--format", "companded"]).good();
    assert_eq!(ran.err, "fallline: tensor 'w': 0 not finite, 1 afterwards, of 2\n");
    let back = scratch("beyond.back");
    convert("dequantize", &to, &back, &["--dtype", "f32"]).good();
    assert_eq!(read(&back).0[0].values()[0], 65536.0);
    let ran = convert("dequantize", &to, &back, &[]).good();
    assert_eq!(ran.err, "fallline: tensor 'w': 0 not finite, 1 afterwards, of 2\n");
}
