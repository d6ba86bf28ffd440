//! `fallline info`, as a user runs it.

use std::fs;

use fallline::RULE_NAMES;
use serde_json::{Value, json};

use crate::common::{fallline, scratch};

#[test]
fn info_lists_the_adapters() {
    let path = scratch("info.json");
    let ran = fallline(&["info", "--json", path.to_str().unwrap()]).good();
    let adapters: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(!adapters.is_empty());
    for adapter in &adapters {
        assert!(ran.out.contains(adapter["adapter"]["name"].as_str().unwrap()), "{}", ran.out);
        assert!(adapter["limits"]["max_storage_buffer_binding_size"].is_u64());
        assert!(adapter["features"]["timestamp_query"].is_boolean());
        assert!(adapter["copy_gb_per_s"].is_f64() || adapter["unusable"].is_string());
    }
    for property in ["backend", "driver", "max_buffer_size", "SHADER_F16", "largest arena window"] {
        assert!(ran.out.contains(&format!("\n  {property}  ")), "{property}: {}", ran.out);
    }
    assert!(ran.out.contains("copy bandwidth"), "{}", ran.out);
}

#[test]
fn rules_are_listed_with_what_they_keep() {
    let path = scratch("rules.json");
    // It opens no device.
    let device = ["--adapter", "no such adapter"];
    let ran =
        fallline(&[&["info", "--rules", "--json", path.to_str().unwrap()], &device[..]].concat());
    let ran = ran.good();
    let rules: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(rules.iter().map(|rule| rule["rule"].as_str().unwrap()).eq(RULE_NAMES.iter().copied()));
    for rule in &rules {
        let name = rule["rule"].as_str().unwrap();
        let line = ran.out.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(rule["reference"].as_str().unwrap()), "{line}");
        for slot in rule["slots"].as_array().unwrap() {
            assert!(line.contains(slot["name"].as_str().unwrap()), "{line}");
        }
    }
    let of = |name: &str| rules.iter().find(|rule| rule["rule"] == name).unwrap();
    assert_eq!(
        of("sgd"),
        &json!({
            "rule": "sgd",
            "reference": "torch.optim.SGD",
            "train": { "lr": 0.05, "momentum": 0.9 },
            "slots": [
                { "name": "momentum_buffer", "signed": true, "kind": "moment", "shape": "param" }
            ],
        })
    );
    let slots = &of("adafactor")["slots"];
    assert_eq!((&slots[0]["shape"], &slots[1]["shape"]), (&json!("rows"), &json!("columns")));
}

#[test]
fn what_is_not_there_is_said() {
    fallline(&["info", "--adapter", "no such adapter"]).says("apt-get install");
    fallline(&["info", "--json", "/no/such/folder/info.json"]).says("cannot write /no/such/");
}

#[test]
fn a_kernel_is_one_page_to_read() {
    let page = |more: &[&str]| fallline(&[&["info", "--kernel"][..], more].concat()).good().out;
    let adamw = page(&["adamw", "--param", "bf16", "--state", "int8"]);
    for part in [
        "// AMSGRAD = 0\n",
        "\n// ---- frames/update.wgsl\n",
        "\n// ---- frames/arena.wgsl\n",
        "\n// ---- rules/adamw.wgsl\n",
        "\n// ---- codecs/param_bf16.wgsl\n",
        "\n// ---- codecs/state_int8.wgsl\n",
        "fn main(",
        "fn propose(",
    ] {
        assert!(adamw.contains(part), "{part}");
    }
    assert!(page(&["adamw", "--borrowed"]).contains("// ---- frames/borrowed.wgsl\n"));
    assert!(page(&["lamb", "--stage", "reduce"]).contains("// ---- frames/reduce.wgsl\n"));
    assert!(page(&["lamb", "--stage", "finish"]).contains("// ---- control/finish.wgsl\n"));
    assert!(page(&["nadam", "--stage", "advance"]).contains("fn keep("));
    assert!(page(&["sophia", "--stage", "estimate"]).contains("// ---- frames/estimate.wgsl\n"));
    let adafactor = page(&["adafactor"]);
    assert!(adafactor.contains("// FACTORED = 1\n"), "{adafactor}");
    for (rule, stage) in [
        ("adafactor", "margins"),
        ("adafactor", "vectors"),
        ("adafactor", "means"),
        ("prodigy", "gather"),
        ("prodigy", "finish"),
        ("prodigy", "advance"),
    ] {
        for places in [&[][..], &["--borrowed"]] {
            let page = page(&[&[rule, "--stage", stage][..], places].concat());
            let file = format!("\n// ---- control/{stage}.wgsl\n");
            assert!(page.contains(&file) && page.contains("fn main("), "{rule} {stage}");
        }
    }
    assert!(page(&["prodigy", "--stage", "update"]).contains("// ---- rules/prodigy.wgsl\n"));
}

#[test]
fn what_makes_no_kernel_is_wrong_usage() {
    for (arguments, expected) in [
        (&["--param", "bf16"][..], "they need --kernel RULE"),
        (&["--kernel", "adamw", "--clip", "1"], "--clip and --loss-scale change no kernel"),
        (&["--kernel", "adamw", "--stage", "reduce"], "adamw looks at no whole tensor"),
        (&["--kernel", "adamw", "--stage", "estimate"], "adamw takes no estimates"),
        (&["--kernel", "lamb", "--stage", "margins"], "lamb keeps nothing of rows and columns: it"),
        (
            &["--kernel", "adafactor", "--stage", "gather"],
            "adafactor sums nothing over many tensor",
        ),
        (&["--kernel", "adamw", "--master", "f32"], "--master f32 needs --param f16 or bf16"),
        (&["--kernel", "adamww"], "possible values: sgd, lion"),
        (&["--borrowed"], "--kernel <RULE>"),
        (&["--rules", "--kernel", "adamw"], "--rules"),
    ] {
        let ran = fallline(&[&["info"][..], arguments].concat());
        assert!(ran.code == Some(2) && ran.err.contains(expected), "{ran:?}");
    }
}
