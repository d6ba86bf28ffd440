//! Parameter groups in `fallline replay`: rates of their own, what is in them, and how they are split.

use std::{collections::HashMap, fs};

use safetensors::Dtype;

use crate::common::{Tensor, config, replay, scratch, trace, write};

#[test]
fn groups_keep_their_ratio_to_the_recorded_base_rate() {
    let path = trace(
        "ratio.safetensors",
        &[
            ("param/a", &[2], 1.0),
            ("param/b", &[2], 1.0),
            ("grad/1/a", &[2], 1.0),
            ("grad/1/b", &[2], 1.0),
            ("grad/3/b", &[2], 1.0),
            ("lr/1", &[1], 0.25),
            ("lr/3", &[], 0.125),
            ("expect/a", &[2], 0.75),
            ("expect/b", &[2], -0.5),
        ],
    );
    let groups = "[optimizer]\nrule = 'sgd'\nlr = 0.5\n[[group]]\ntensors = ['b']\nlr = 2.0\n";
    replay(&path, &config("ratio.toml", groups), &["--rtol", "0", "--atol", "0"]).good();
    // That there is none is the config's fault.
    let none = config("no ratio.toml", &groups.replacen("lr = 0.5", "lr = 0.0", 1));
    replay(&path, &none, &[]).refuses(
        "ratio.safetensors: tensor 'lr/1': [[group]] number 1: its lr 2 has no ratio to the base's, \
         which is 0",
    );
}

#[test]
fn a_trace_may_have_a_rate_for_each_group() {
    let pair = |name: &str, values: &[f32]| Tensor::new(name, Dtype::F32, &[2], values);
    let one = |name: &str, value: f32| Tensor::new(name, Dtype::F32, &[], &[value]);
    let mut tensors = vec![
        pair("param/a", &[1.0; 2]),
        pair("param/b", &[1.0; 2]),
        // Each its own, then the base's alone, then none, then 0 for one of them.
        pair("lr/1", &[0.25, 0.5]),
        one("lr/2", 0.125),
        pair("lr/4", &[0.0, 0.25]),
        pair("expect/a", &[0.125; 2]),
        pair("expect/b", &[-1.625; 2]),
    ];
    for t in 1..=4 {
        tensors.extend(["a", "b"].map(|name| pair(&format!("grad/{t}/{name}"), &[1.0; 2])));
    }
    let path = write("rates.safetensors", &tensors, HashMap::new());
    let groups = "[optimizer]\nrule = 'sgd'\nlr = 0.5\n[[group]]\ntensors = ['b']\nlr = 1.5\n";
    let config = config("rates.toml", groups);
    replay(&path, &config, &["--rtol", "0", "--atol", "0"]).good();
    // Numbers that are none are found wherever they stand.
    for (value, found) in [(-1.0, "-1"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let wrong = [pair("param/b", &[1.0; 2]), pair("lr/3", &[0.5, value])];
        let path = write("wrong rates", &wrong, HashMap::new());
        let expected = format!("tensor 'lr/3': must be finite and >= 0, found {found}");
        replay(&path, &config, &[]).says(&expected);
    }
}

#[test]
fn groups_list_tensors_by_name_and_may_have_none() {
    let path = trace(
        "named.safetensors",
        &[
            ("param/a*", &[2], 1.0),
            ("param/aZ", &[2], 1.0),
            ("grad/1/a*", &[2], 1.0),
            ("grad/1/aZ", &[2], 1.0),
            ("expect/a*", &[2], -1.0),
            ("expect/aZ", &[2], 0.5),
        ],
    );
    // Limits belong to the groups that follow the one without tensors, and measuring it gives 0.
    let text = "[optimizer]\nrule = 'sgd'\nlr = 0.5\n[clip]\nnorm = inf\n\
                [[group]]\nnames = []\nweight_decay = 0.1\nclip_norm = 1e-3\n\
                [[group]]\nnames = ['a*']\nlr = 2.0\nclip_norm = 9.0\n";
    let json = scratch("named.json");
    let more = ["--rtol", "0", "--atol", "0", "--json", json.to_str().unwrap()];
    replay(&path, &config("named.toml", text), &more).good();
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let norms: Vec<f64> = report["report"][0]["norm_per_group"]
        .as_array()
        .unwrap()
        .iter()
        .map(|norm| norm.as_f64().unwrap())
        .collect();
    let root = 2f64.sqrt();
    assert_eq!((norms.len(), norms[1]), (3, 0.0), "{norms:?}");
    assert!((norms[0] - root).abs() < 1e-6 && (norms[2] - root).abs() < 1e-6, "{norms:?}");
}

#[test]
fn groups_are_split_by_layers_and_decay_and_may_be_frozen() {
    let mut tensors = vec![
        ("param/h.0.w", &[2, 2][..], 1.0),
        ("param/h.1.w", &[2, 2], 1.0),
        ("param/h.1.b", &[2], 1.0),
        ("param/head", &[2, 2], 1.0),
        // Rates of 1/8, 1/4, 1/4 and 1/2.
        ("expect/h.0.w", &[2, 2], 0.875),
        ("expect/h.1.w", &[2, 2], 0.53125),
        ("expect/h.1.b", &[2], 0.75),
        ("expect/head", &[2, 2], 0.125),
    ];
    let grads =
        ["h.0.w", "h.1.w", "h.1.b", "head"].map(|name| [1, 2].map(|t| format!("grad/{t}/{name}")));
    for grad in grads.as_flattened() {
        let shape = if grad.ends_with('b') { &[2][..] } else { &[2, 2] };
        tensors.push((grad, shape, 0.5));
    }
    let path = trace("split.safetensors", &tensors);
    let text = "[optimizer]\nrule = 'sgd'\nlr = 0.5\nweight_decay = 0.5\nno_decay = true\n\
                layer_decay = 0.5\nlayers = ['h.#.*']\n\
                [[group]]\ntensors = ['h.0.*']\nfrozen = { from_step = 2 }\n";
    let json = scratch("split.json");
    let more = ["--rtol", "0", "--atol", "0", "--json", json.to_str().unwrap()];
    replay(&path, &config("split.toml", text), &more).good();
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let groups: Vec<_> = report["groups"].as_array().unwrap().iter().collect();
    let found: Vec<_> = groups.iter().map(|g| (&g["name"], &g["lr_scale"])).collect();
    let expected = [
        ("optimizer.layer_1", 0.5),
        ("optimizer.layer_1.no_decay", 0.5),
        ("optimizer.layer_2", 1.0),
        ("[[group]] number 1.layer_0", 0.25),
    ];
    assert_eq!(found.len(), expected.len());
    for ((name, scale), expected) in found.into_iter().zip(expected) {
        assert_eq!((name.as_str().unwrap(), scale.as_f64().unwrap()), expected);
    }
    // A limit to the norm is the group's as a whole.
    let limited = config("limited.toml", &text.replace("tensors =", "clip_norm = 1.0\ntensors ="));
    replay(&path, &limited, &["--rtol", "0"]).good();
    let text = text.replace("'h.0.*'", "'h.*'").replace("tensors =", "clip_norm = 1.0\ntensors =");
    replay(&path, &config("split limit.toml", &text), &[]).refuses(
        "split limit.toml: [[group]] number 1: clip_norm: it is split into several groups, and each",
    );
}
