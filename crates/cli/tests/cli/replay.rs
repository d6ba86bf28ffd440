//! `fallline replay`: PyTorch's own traces, and everything that can be wrong with a trace.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};

use crate::common::{Tensor, config, golden, replay, scratch, trace, write};

fn sgd() -> PathBuf {
    config("sgd.toml", "[optimizer]\nrule = \"sgd\"\nlr = 0.5\n")
}

#[test]
fn every_golden_trace_of_pytorch_passes() {
    let mut rules = HashSet::new();
    for entry in fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            passes(&path);
            let config: toml::Table =
                fs::read_to_string(path.with_extension("toml")).unwrap().parse().unwrap();
            rules.insert(config["optimizer"]["rule"].as_str().unwrap().to_owned());
        }
    }
    for rule in fallline::RULE_NAMES {
        assert!(rules.contains(*rule), "no golden trace of {rule}");
    }
}

fn passes(path: &Path) {
    // All of its parameters are below 1e-3.
    let atol = if path.ends_with("fp16_tiny.safetensors") { "1e-10" } else { "1e-6" };
    let json = scratch("golden.json");
    let more = ["--atol", atol, "--json", json.to_str().unwrap()];
    let ran = replay(path, &path.with_extension("toml"), &more).good();
    assert!(ran.out.contains("\npass: all "), "{}: {}", path.display(), ran.out);

    // None of the values that are rounded to 16 bits is near a tie.
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for tensor in report["tensors"].as_array().unwrap() {
        let Some(name) = tensor["name"].as_str().unwrap().strip_prefix("param/") else { continue };
        if file.tensor(&format!("expect/{name}")).unwrap().dtype() != Dtype::F32 {
            assert_eq!(tensor["max_abs"], 0.0, "{}: {tensor}", path.display());
        }
    }
}

#[test]
fn a_wrong_hyperparameter_fails_and_says_where() {
    let text = fs::read_to_string(golden("adamw.toml")).unwrap();
    assert!(text.contains("lr = 0.001"), "{text}");
    let wrong = config("wrong.toml", &text.replace("lr = 0.001", "lr = 0.00101"));
    let report = scratch("wrong.json");
    let ran = replay(&golden("adamw.safetensors"), &wrong, &["--json", report.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("FAIL: ") && ran.out.contains("beyond tolerance"), "{}", ran.out);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["passed"], false);
    assert_eq!(report["steps"], 40);
    let embed = report["tensors"].as_array().unwrap().iter().find(|t| t["name"] == "param/embed");
    let embed = embed.unwrap();
    assert!(embed["max_abs"].as_f64().unwrap() > 1e-5 && embed["max_ulp"].as_u64().unwrap() > 100);
    assert!(embed["max_rel"].is_number() && embed["passed"] == false);
    // A tolerance wide enough lets it pass.
    replay(&golden("adamw.safetensors"), &wrong, &["--atol", "1"]).good();
}

#[test]
fn the_format_of_the_state_shows_in_the_result() {
    let text = fs::read_to_string(golden("adamw.toml")).unwrap();
    let json = scratch("state.json");
    let run = |kept: &str, more: &[&str]| {
        let kept =
            config("state.toml", &text.replace("[optimizer]", &format!("[optimizer]\n{kept}")));
        let more = [&["--json", json.to_str().unwrap()], more].concat();
        let ran = replay(&golden("adamw.safetensors"), &kept, &more);
        let report: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        (ran, report)
    };
    let difference = |report: &serde_json::Value, what: &str| {
        let tensors = report["tensors"].as_array().unwrap();
        let weight = tensors.iter().find(|t| t["name"] == "param/weight").unwrap();
        weight[what].as_f64().unwrap()
    };
    // All of its tensors are small.
    let (f32, report) = run("state = 'int8'", &[]);
    assert!(f32.good().out.contains("\nstate: int8 from 4096 elements on\n"));
    assert_eq!(report["groups"][0]["min_state_elems"], 4096);

    let kept = "state = 'int8'\nmin_state_elems = 0";
    let (int8, report) = run(kept, &[]);
    assert_eq!((int8.code, &report["groups"][0]["state"]), (Some(1), &"int8".into()));
    let (mean, max) = (difference(&report, "mean_abs"), difference(&report, "max_abs"));
    assert!(1e-6 < mean && mean < max && max < 1e-2, "{mean} {max}");
    run(kept, &["--atol", "0.02"]).0.good();
}

#[test]
fn the_result_is_written_with_names_and_shapes() {
    let out = scratch("final.safetensors");
    let (path, text) = (golden("adamw.safetensors"), golden("adamw.toml"));
    replay(&path, &text, &["--out", out.to_str().unwrap()]).good();
    let (found, recorded) = (fs::read(out).unwrap(), fs::read(path).unwrap());
    let found = SafeTensors::deserialize(&found).unwrap();
    let recorded = SafeTensors::deserialize(&recorded).unwrap();
    let shapes: HashMap<String, Vec<usize>> =
        found.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    assert_eq!(shapes.len(), 5 * 3);
    for (name, shape) in [("scale", vec![]), ("weight", vec![3, 5]), ("empty", vec![0])] {
        assert_eq!(shapes[&format!("param/{name}")], shape);
        assert_eq!(shapes[&format!("state/exp_avg_sq/{name}")], shape);
    }
    let value = |file: &SafeTensors<'_>, name: &str| {
        f32::from_le_bytes(file.tensor(name).unwrap().data()[..4].try_into().unwrap())
    };
    let (found, expected) = (value(&found, "param/weight"), value(&recorded, "expect/weight"));
    assert!((found - expected).abs() <= 1e-6, "{found} {expected}");
}

#[test]
fn where_parameters_are_evaluated_is_written_beside_them() {
    let out = scratch("final.safetensors");
    let path = golden("schedulefree_adamw.safetensors");
    replay(&path, &path.with_extension("toml"), &["--out", out.to_str().unwrap()]).good();
    let (found, recorded) = (fs::read(out).unwrap(), fs::read(path).unwrap());
    let found = SafeTensors::deserialize(&found).unwrap();
    let recorded = SafeTensors::deserialize(&recorded).unwrap();
    let values = |file: &SafeTensors<'_>, name: &str| -> Vec<f32> {
        let bytes = file.tensor(name).unwrap().data().chunks_exact(4).map(<[u8]>::to_vec);
        bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let apart =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let eval = values(&found, "eval/weight");
    assert!(apart(&eval, &values(&recorded, "expect_eval/weight")) <= 1e-6);
    assert!(apart(&eval, &values(&found, "param/weight")) > 1e-3);
}

#[test]
fn slots_are_written_in_shapes_of_their_own() {
    let shapes = |case: &str, more: &str| {
        let out = scratch("final.safetensors");
        let text = fs::read_to_string(golden(&format!("{case}.toml"))).unwrap();
        let config = config("after.toml", &(text + more));
        let trace = golden(&format!("{case}.safetensors"));
        replay(&trace, &config, &["--out", out.to_str().unwrap()]).good();
        let found = fs::read(out).unwrap();
        let found = SafeTensors::deserialize(&found).unwrap();
        let shape = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            (name, view.shape().to_vec())
        };
        found.tensors().into_iter().map(shape).collect::<HashMap<_, _>>()
    };
    let adafactor = shapes("adafactor", "ema_decay = 0.5\n");
    for (name, shape) in [
        ("param/conv", &[3, 2, 5, 7][..]),
        ("state/row_var/conv", &[3, 2, 5, 1]),
        ("state/col_var/conv", &[3, 2, 1, 7]),
        ("state/average/conv", &[3, 2, 5, 7]),
        ("state/variance/scale", &[]),
    ] {
        assert_eq!(adafactor[name], shape, "{name}");
    }
    let prodigy = shapes("prodigy_coupled", "");
    assert_eq!((&prodigy["state/p0/weight"], &prodigy["state/d/weight"]), (&vec![3, 5], &vec![]));
}

#[test]
fn what_comes_after_the_rule_is_told() {
    let json = scratch("after.json");
    let run = |case: &str, text: &str| {
        let config = config("after.toml", text);
        let more = ["--json", json.to_str().unwrap()];
        let ran = replay(&golden(&format!("{case}.safetensors")), &config, &more).good();
        let report: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        (ran.out, report)
    };
    let text = fs::read_to_string(golden("lookahead_ema.toml")).unwrap();
    let (out, report) = run("lookahead_ema", &text);
    let line = "\naround the rule: lookahead with k 3 and alpha 0.5, an average of decay 0.8\n";
    assert!(out.contains(line), "{out}");
    let around = &report["groups"][0]["around"];
    let told = ["lookahead_k", "lookahead_alpha", "ema_decay", "caution", "swa_start"];
    let told = told.map(|key| around[key].clone());
    assert_eq!(serde_json::json!(told), serde_json::json!([3, 0.5, 0.8, false, null]));
    let of = |name: &str| report["tensors"].as_array().unwrap().iter().any(|t| t["name"] == name);
    assert!(of("state/average/weight") && of("state/slow/weight"), "{report}");

    let text = fs::read_to_string(golden("prodigy.toml")).unwrap();
    let (out, report) = run("prodigy", &text);
    assert!(out.contains("\nstate/d  ") && !out.contains("around the rule"), "{out}");
    assert_eq!(report["groups"][0]["around"]["ema_decay"], serde_json::Value::Null);
}

#[test]
fn a_trace_without_expectations_runs_and_says_so() {
    let path = trace("plain.safetensors", &[("param/w", &[3], 1.0), ("grad/1/w", &[3], 2.0)]);
    let ran = replay(&path, &sgd(), &[]).good();
    assert!(ran.out.contains("nothing to compare"), "{}", ran.out);
}

#[test]
fn a_nan_where_a_number_was_recorded_fails() {
    let path = trace(
        "nan.safetensors",
        &[("param/w", &[1], 1.0), ("grad/1/w", &[1], f32::NAN), ("expect/w", &[1], 1.0)],
    );
    assert_eq!(replay(&path, &sgd(), &["--atol", "1e30"]).code, Some(1));
}

#[test]
fn a_nan_in_a_state_is_compared_and_named() {
    // The gradient's NaN comes in the middle; its neighbours never meet it.
    let (nan, shape) = (f32::NAN, [3]);
    let run = |param: [f32; 3], state: [f32; 3]| {
        let tensor = |name: &str, values: &[f32]| Tensor::new(name, Dtype::F32, &shape, values);
        let tensors = [
            tensor("param/w", &[1.0; 3]),
            tensor("grad/1/w", &[1.0, nan, 1.0]),
            tensor("grad/2/w", &[1.0; 3]),
            tensor("expect/w", &param),
            tensor("expect_state/momentum_buffer/w", &state),
        ];
        let path = write("nan state.safetensors", &tensors, HashMap::new());
        let text = "[optimizer]\nrule = 'sgd'\nlr = 0.5\nmomentum = 0.5\n";
        replay(&path, &config("nan state.toml", text), &[])
    };
    let (param, state) = ([-0.25, nan, -0.25], [1.5, nan, 1.5]);
    run(param, state).good();
    for wrong in [[1.5; 3], [nan, nan, 1.5], [1.5, f32::INFINITY, 1.5], [nan; 3]] {
        let ran = run(param, wrong);
        assert_eq!(ran.code, Some(1), "{wrong:?} {ran:?}");
        let beyond: Vec<&str> =
            ran.out.lines().filter(|line| line.ends_with("beyond tolerance")).collect();
        assert_eq!(beyond.len(), 1, "{}", ran.out);
        assert!(beyond[0].starts_with("state/momentum_buffer/w "), "{}", ran.out);
        assert!(ran.out.contains("FAIL: 1 of 2 tensors not within "), "{}", ran.out);
    }
}

#[test]
fn malformed_traces_are_named() {
    let bad = |name: &str, tensors: &[(&str, &[usize], f32)], expected: &str| {
        replay(&trace(name, tensors), &sgd(), &[]).says(expected);
    };
    let param: (&str, &[usize], f32) = ("param/w", &[2], 1.0);
    bad("b1", &[("weight", &[2], 1.0)], "tensor 'weight': the name must be param/<name>, ");
    bad("b2", &[param, ("grad/0/w", &[2], 1.0)], "tensor 'grad/0/w': steps are numbered 1, 2, ");
    bad("b3", &[param, ("grad/x/w", &[2], 1.0)], "tensor 'grad/x/w': 'x' is not a step number");
    bad("b4", &[param, ("grad/1/v", &[2], 1.0)], "tensor 'grad/1/v': there is no 'param/v'");
    bad(
        "b5",
        &[param, ("grad/1/w", &[3], 1.0)],
        "tensor 'grad/1/w': the shape must be that of 'param/w', [2], found [3]",
    );
    bad("b6", &[param, ("lr/1", &[1], -1.0)], "tensor 'lr/1': must be finite and >= 0, found -1");
    bad(
        "b7",
        &[param, ("lr/1", &[2], 1.0)],
        "b7: tensor 'lr/1': must hold one learning rate, or one for [optimizer] and for each \
         [[group]], 1 in all, found 2",
    );
    bad(
        "b12",
        &[param, ("grad/5/w", &[2], 1.0), ("grad/3000000/w", &[2], 1.0)],
        "b12: tensor 'grad/3000000/w': steps 6 to 2999999 have no gradient; at most 10000 steps in \
         a row may have none, found 2999994",
    );
    bad(
        "b10",
        &[param, ("lr/2", &[0], 1.0)],
        "b10: tensor 'lr/2': must hold one learning rate, or one ",
    );
    bad(
        "b11",
        &[param, ("lr/1", &[1, 1], 1.0)],
        "tensor 'lr/1': must be one learning rate, or a vector of one for each group, found shape",
    );
    bad("b8", &[("lr/1", &[1], 1.0)], "no tensor 'param/<name>'");
    bad(
        "b9",
        &[param, ("expect_state/exp_avg/w", &[2], 1.0)],
        "tensor 'expect_state/exp_avg/w': sgd keeps [] and no 'exp_avg'",
    );
    bad(
        "b13",
        &[param, ("expect_average/w", &[2], 1.0)],
        "tensor 'expect_average/w': sgd keeps [] and no 'average'",
    );
    bad(
        "b14",
        &[param, ("expect_d", &[1], 1.0)],
        "tensor 'expect_d': no tensor of the trace has a rule that keeps d",
    );
}

#[test]
fn files_that_break_off_say_at_which_byte() {
    let whole = fs::read(trace("whole", &[("param/w", &[100], 1.0)])).unwrap();
    let cut = |name: &str, bytes: &[u8], expected: &str| {
        let path = scratch(name);
        fs::write(&path, bytes).unwrap();
        replay(&path, &sgd(), &[]).says(expected);
    };
    cut("empty", &[], "the file ends at byte 0, within the 8 bytes of the header's length");
    cut("c1", &whole[..20], "but the file ends at byte 20");
    let len = whole.len();
    let end =
        format!("tensor 'param/w' should end at byte {len}, but the file ends at byte {}", len - 7);
    cut("c2", &whole[..len - 7], &end);
    let mut garbled = whole.clone();
    garbled[9] = b'!';
    cut(
        "c3",
        &garbled,
        "c3: not a safetensors file: the header is no JSON object at byte 9: key must",
    );
    let mut longer = whole;
    longer.push(0);
    let end =
        format!("c4: not a safetensors file: by the header the data end at byte {len}, but the");
    cut("c4", &longer, &format!("{end} file ends at byte {}", len + 1));
    replay(&scratch("no such file"), &sgd(), &[]).says("cannot read ");
}

#[test]
fn malformed_configs_are_named() {
    let path = trace("good.safetensors", &[("param/w", &[2], 1.0), ("grad/1/w", &[2], 1.0)]);
    let bad = |name: &str, text: &str, expected: &str| {
        replay(&path, &config(name, text), &[]).refuses(expected);
    };
    bad("k1.toml", "[optimizer]\nrule = 'sgd'\nmomentom = 0.9\n", "unknown field `momentom`");
    bad(
        "k2.toml",
        "[optimizer]\nrule = 'sgd'\nbetas = [0.9, 0.99]\n",
        "rule 'sgd': unknown field `betas`",
    );
    bad(
        "k3.toml",
        "[optimizer]\nrule = 'adamw'\nlr = -1\n",
        "lr must be finite and >= 0, found -1",
    );
    bad("k4.toml", "[optimizer\n", "TOML parse error at line 1, column 11");
    let state = "[optimizer]\nrule = 'sgd'\n[[group]]\ntensors = ['w']\nstate = 'int9'\n";
    bad("k6.toml", state, "k6.toml: [[group]] number 1: a state format must be \"f32\", ");
    let threshold = "[optimizer]\nrule = 'sgd'\nmin_state_elems = -1\n";
    bad(
        "k7.toml",
        threshold,
        "[optimizer]: invalid value: integer `-1`, expected u64: in `min_state",
    );
    let glob = "[optimizer]\nrule = 'sgd'\n[[group]]\ntensors = ['[w']\n";
    bad(
        "k8.toml",
        glob,
        "k8.toml: [[group]] number 1: the glob '[w': invalid range pattern (at 0)",
    );
    replay(&path, &scratch("no such.toml"), &[]).refuses("cannot read ");
    let idle = "[optimizer]\nrule = 'sgd'\n[[group]]\ntensors = ['v']\n";
    bad("k5.toml", idle, "k5.toml: no tensor matches the glob 'v' of group '[[group]] number 1'");
    let unknown = "[optimizer]\nrule = 'sgd'\n[[group]]\nnames = ['w', 'v']\n";
    bad(
        "k9.toml",
        unknown,
        "k9.toml: no tensor matches the name 'v' of group '[[group]] number 1'",
    );
    let both = "[optimizer]\nrule = 'sgd'\n[[group]]\nnames = ['w']\n[[group]]\ntensors = ['*']\n";
    bad(
        "k10.toml",
        both,
        "k10.toml: tensor 'w' is selected by group '[[group]] number 1' and by group '[[group]] number 2'",
    );
    replay(&path, &sgd(), &["--rtol", "nan"]).refuses("--rtol must be finite and >= 0, found NaN");
    replay(&path, &sgd(), &["--out", "/no/such/folder/x"]).says("cannot write /no/such/folder/x");
    assert_eq!(replay(&path, &sgd(), &["--frobnicate"]).code, Some(2));
}
