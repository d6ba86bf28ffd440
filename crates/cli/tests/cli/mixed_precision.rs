//! `fallline replay` with clipping, loss scaling and 16-bit formats.

use std::{fs, path::PathBuf};

use half::f16;
use safetensors::{
    Dtype::{BF16, F16, F32, F64},
    SafeTensors,
};
use serde_json::{Value, json};

use crate::common::{config, replay, scratch, trace, trace_in};

const SGD: &str = "[optimizer]\nrule = 'sgd'\nlr = 0.5\n";

fn sgd(name: &str, more: &str) -> PathBuf {
    config(name, &format!("{SGD}{more}"))
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(scratch(name)).unwrap()).unwrap()
}

#[test]
fn parameters_are_written_in_their_own_format_with_their_master() {
    let grad = 2f32.powi(-12);
    let path = trace_in(
        "f16.safetensors",
        &[
            ("param/w", F16, &[5], 1.0),
            ("param/v", F32, &[2], 1.0),
            ("grad/1/w", BF16, &[5], grad),
            ("grad/2/w", BF16, &[5], grad),
            ("grad/3/w", BF16, &[5], grad),
            ("expect/w", F32, &[5], 1.0 - 2f32.powi(-11)),
            ("expect_master/w", F32, &[5], 1.0 - 3.0 * 2f32.powi(-13)),
        ],
    );
    let out = scratch("f16 final.safetensors");
    let more = ["--rtol", "0", "--atol", "0", "--out", out.to_str().unwrap()];
    replay(&path, &sgd("f16.toml", "master = 'f32'\n"), &more).good();
    let bytes = fs::read(&out).unwrap();
    let found = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = found.names();
    names.sort_unstable();
    // What is f32 by itself has no master.
    assert_eq!(names, ["master/w", "param/v", "param/w"]);
    let (param, master) = (found.tensor("param/w").unwrap(), found.tensor("master/w").unwrap());
    assert_eq!((param.dtype(), param.shape()), (F16, &[5][..]));
    assert_eq!(param.data(), f16::from_f32(1.0 - 2f32.powi(-11)).to_le_bytes().repeat(5));
    assert_eq!(master.data(), (1.0f32 - 3.0 * 2f32.powi(-13)).to_le_bytes().repeat(5));

    // Without a master, steps this small are lost: by one f16, or eight thousand f32.
    let more = ["--json", "f16.json"];
    replay(&path, &sgd("f16 none.toml", ""), &more).says(
        "tensor 'expect_master/w': the parameter is in f16 with rounding to nearest, without",
    );
    for (name, format, ulp) in [("in f16", F16, 1), ("in f32", F32, 8192)] {
        let tensors = [
            ("param/w", F16, &[5][..], 1.0),
            ("grad/1/w", F16, &[5], grad),
            ("expect/w", format, &[5], 1.0 - 2f32.powi(-11)),
        ];
        let ran = replay(&trace_in(name, &tensors), &sgd("f16 none.toml", ""), &more);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(read_json("f16.json")["tensors"][0]["max_ulp"], ulp);
    }
}

#[test]
fn the_report_tells_what_every_step_did() {
    let infinity = f32::INFINITY;
    let path = trace_in(
        "told.safetensors",
        &[
            ("param/a", F32, &[4], 1.0),
            ("param/b", F32, &[], 1.0),
            ("grad/1/a", F16, &[4], 8.0),
            ("grad/2/a", F16, &[4], infinity),
            ("grad/2/b", F16, &[], 1.0),
            ("grad/3/a", F16, &[4], 0.5),
            ("expect_report/skipped", F32, &[3], 0.0),
        ],
    );
    let text = "[clip]\nnorm = 1\nvalue = 2.5\n\
                [loss_scale]\ninit = 4\ninterval = 1\n\
                [[group]]\ntensors = ['b']\nclip_norm = inf\n";
    let ran = replay(&path, &sgd("told.toml", text), &["--atol", "9", "--json", "told.json"]);
    // The second was skipped, which no tolerance covers.
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let line = "\nclip: norm 1, norm inf of [[group]] number 1, active in 1 of 2 steps, value 2.5; \
                loss scale: 8 at the end, 1 of 3 steps skipped\n";
    assert!(ran.out.contains(line), "{}", ran.out);
    let found = &read_json("told.json")["report"];
    let factor = found[0]["clip_factor"].as_f64().unwrap();
    assert!((factor - 0.25).abs() < 1e-6, "{found}");
    let step = |step, norms: [Value; 3], factor: Value, scale, skipped| {
        let [norm, a, b] = norms;
        json!({
            "step": step, "norm": norm, "norm_per_group": [a, b], "clip_factor": factor,
            "scale": scale, "skipped": skipped,
        })
    };
    let expected = json!([
        step(1, [json!(4.0), json!(4.0), json!(0.0)], json!(factor), 4.0, false),
        step(
            2,
            [json!(null), json!(null), json!(0.125)],
            found[1]["clip_factor"].clone(),
            8.0,
            true
        ),
        step(3, [json!(0.25), json!(0.25), json!(0.0)], json!(1.0), 4.0, false),
    ]);
    assert_eq!(*found, expected);

    replay(&path, &sgd("untold.toml", ""), &["--json", "told.json"])
        .says("tensor 'expect_report/skipped': the config has no [loss_scale]");
}

#[test]
fn an_optimizer_that_measures_nothing_reports_nothing() {
    let path = trace("silent.safetensors", &[("param/w", &[3], 1.0), ("grad/1/w", &[3], 2.0)]);
    let more = ["--json", "silent.json"];
    let ran = replay(&path, &sgd("silent.toml", "[clip]\nvalue = 0.5\n"), &more).good();
    assert!(ran.out.contains("\nclip: value 0.5\n"), "{}", ran.out);
    assert_eq!(read_json("silent.json")["report"], Value::Null);
    let ran = replay(&path, &sgd("mute.toml", ""), &[]).good();
    assert!(!ran.out.contains("clip") && !ran.out.contains("scale"), "{}", ran.out);
}

#[test]
fn no_report_of_a_long_run_is_lost() {
    for steps in [64, 65, 200] {
        let grads: Vec<String> = (1..=steps).map(|t| format!("grad/{t}/w")).collect();
        let mut tensors: Vec<(&str, &[usize], f32)> = vec![("param/w", &[4], 1.0)];
        tensors.extend(grads.iter().map(|name| (name.as_str(), &[4][..], 1.5)));
        let shape = [steps];
        tensors.push(("expect_report/norm", &shape, 3.0));
        let path = trace("long.safetensors", &tensors);
        let more = ["--rtol", "0", "--atol", "0", "--json", "long.json"];
        replay(&path, &sgd("long.toml", "[clip]\nnorm = inf\n"), &more).good();
        let report = read_json("long.json");
        let found: Vec<u64> = report["report"]
            .as_array()
            .unwrap()
            .iter()
            .map(|report| report["step"].as_u64().unwrap())
            .collect();
        assert_eq!(found, (1..=steps as u64).collect::<Vec<_>>());
    }
}

#[test]
fn norms_that_are_not_finite_agree_with_their_like_only() {
    for (grad, norm, code) in [
        (f32::INFINITY, f32::INFINITY, 0),
        (f32::NAN, f32::NAN, 0),
        (f32::INFINITY, f32::NAN, 1),
        (1.0, f32::INFINITY, 1),
    ] {
        let tensors = [
            ("param/w", &[1][..], 1.0),
            ("grad/1/w", &[1], grad),
            ("expect_report/norm", &[1], norm),
        ];
        let path = trace("norms.safetensors", &tensors);
        let ran = replay(&path, &sgd("norms.toml", "[loss_scale]\ninterval = 0\ninit = 1\n"), &[]);
        assert_eq!(ran.code, Some(code), "{grad} {norm} {ran:?}");
    }
}

#[test]
fn stochastic_rounding_is_a_function_of_its_seed() {
    let path = trace_in(
        "chance.safetensors",
        &[
            ("param/w", BF16, &[1000], 1.0),
            ("grad/1/w", BF16, &[1000], 0.001),
            ("grad/2/w", BF16, &[1000], 0.001),
        ],
    );
    let run = |options: &str| {
        let out = scratch("chance final.safetensors");
        let config = sgd("chance.toml", options);
        replay(&path, &config, &["--out", out.to_str().unwrap()]).good();
        let bytes = fs::read(&out).unwrap();
        SafeTensors::deserialize(&bytes).unwrap().tensor("param/w").unwrap().data().to_vec()
    };
    let first = run("stochastic_rounding = true\nseed = 7\n");
    assert_eq!(first, run("stochastic_rounding = true\nseed = 7\n"));
    assert_ne!(first, run("stochastic_rounding = true\nseed = 8\n"));
    // To nearest, nothing moves.
    let one = [0x80, 0x3f];
    assert_eq!(run("stochastic_rounding = false\nseed = 7\n"), one.repeat(1000));
    // A chance of 0.128 in each step.
    let moved = first.chunks(2).filter(|code| **code != one).count();
    assert!((150..350).contains(&moved), "{moved}");
}

#[test]
fn malformed_traces_are_named() {
    let scaled = sgd("scaled.toml", "[loss_scale]\n");
    let bad = |name: &str, more: &[(&str, safetensors::Dtype, &[usize], f32)], expected: &str| {
        let tensors =
            [&[("param/w", F16, &[2][..], 1.0), ("grad/1/w", BF16, &[2], 1.0)], more].concat();
        replay(&trace_in(name, &tensors), &scaled, &[]).says(&format!("{name}: tensor {expected}"));
    };
    let two = &[2][..];
    bad(
        "d1",
        &[("param/x", F64, two, 1.0)],
        "'param/x': the dtype must be F32, F16 or BF16, found",
    );
    bad("d2", &[("lr/1", F16, &[1], 1.0)], "'lr/1': the dtype must be F32, found F16");
    bad(
        "d3",
        &[("grad/3/w", F16, two, 1.0)],
        "'grad/3/w': the dtype must be that of 'grad/1/w', BF16, found F16",
    );
    bad(
        "d4",
        &[("expect/w", BF16, two, 1.0)],
        "'expect/w': the dtype must be F32 or that of 'param/w', F16, found BF16",
    );
    bad(
        "d5",
        &[("expect_master/w", F16, two, 1.0)],
        "'expect_master/w': the dtype must be F32, found",
    );
    bad("d6", &[("expect_master/v", F32, two, 1.0)], "'expect_master/v': there is no 'param/v'");
    bad(
        "d7",
        &[("expect_state/exp_avg/w", BF16, two, 1.0)],
        "'expect_state/exp_avg/w': the dtype must be F32, found BF16",
    );
    bad(
        "d8",
        &[("expect_report/lr", F32, &[1], 1.0)],
        "'expect_report/lr': a step reports norm, scale and skipped, found 'lr'",
    );
    bad(
        "d9",
        &[("expect_report/norm", F32, two, 1.0)],
        "'expect_report/norm': the shape must be [1], a value for each step, found [2]",
    );
    bad("d10", &[("expect_report/norm", F32, &[], 1.0)], "'expect_report/norm': must be a vector,");
    bad("d11", &[("master/w", F32, two, 1.0)], "'master/w': the name must be param/<name>, ");

    // What the trace expects and the config has not.
    let without = |name: &str, key: &str, text: &str, expected: &str| {
        let tensors = [("param/w", &[2][..], 1.0), ("grad/1/w", &[2], 1.0), (key, &[1], 1.0)];
        let config = sgd(&format!("{name}.toml"), text);
        replay(&trace(name, &tensors), &config, &[]).says(expected);
    };
    let scale = "tensor 'expect_report/scale': the config has no [loss_scale]";
    without("e1", "expect_report/scale", "[clip]\nnorm = 1\n", scale);
    let norm =
        "tensor 'expect_report/norm': the config has no [clip] norm, [loss_scale] or a group's";
    without("e2", "expect_report/norm", "[clip]\nvalue = 1\n", norm);
    let path = trace("e3", &[("param/w", &[2], 1.0), ("expect_master/w", &[2], 1.0)]);
    let master =
        "tensor 'expect_master/w': the parameter is in f32 with rounding to nearest, without";
    replay(&path, &sgd("e3.toml", "master = 'f32'\n"), &[]).says(master);
    let path = trace_in("e4", &[("param/w", F16, &[2], 1.0)]);
    let remainder = "tensor 'w': a 16-bit remainder needs a parameter in bf16, found f16";
    replay(&path, &sgd("e4.toml", "master = 'remainder'\n"), &[]).refuses(remainder);
}

#[test]
fn malformed_configs_are_named() {
    let path = trace("any.safetensors", &[("param/w", &[2], 1.0), ("grad/1/w", &[2], 1.0)]);
    let bad = |name: &str, more: &str, expected: &str| {
        replay(&path, &sgd(name, more), &[]).refuses(&format!("{name}: {expected}"));
    };
    bad("m1.toml", "[clip]\nnorm = 0\n", "[clip]: norm must be > 0, found 0");
    bad(
        "m2.toml",
        "[loss_scale]\ngrowth = 0.5\n",
        "[loss_scale]: growth must be finite and >= 1, ",
    );
    let both = "stochastic_rounding needs master = \"none\"";
    let text = "master = 'f32'\nstochastic_rounding = true\n";
    bad("m3.toml", text, &format!("[optimizer]: {both}"));
    let group = "[[group]]\ntensors = ['w']\nclip_norm = -1\n";
    bad("m4.toml", group, "[[group]] number 1: clip_norm must be > 0, found -1");
    bad("m5.toml", "[clipping]\nnorm = 1\n", "TOML parse error at line 4, column 2");
}
