//! Oracle and twin against what the references made of the same gradients.

use std::{collections::BTreeMap, fs, path::PathBuf};

use fallline_reference::{Number, Rule, Tensor, rule, step_groups};
use safetensors::{SafeTensors, tensor::TensorView};
use toml::{Table, Value};

/// The case's trace and its config.
fn golden(case: &str) -> (Vec<u8>, Table) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let config = fs::read_to_string(dir.join(format!("{case}.toml"))).unwrap();
    (fs::read(dir.join(format!("{case}.safetensors"))).unwrap(), config.parse().unwrap())
}

fn values<T: Number>(view: &TensorView<'_>) -> Vec<T> {
    let numbers = view.data().chunks_exact(4);
    numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).map(from).collect()
}

fn from<T: Number>(value: f32) -> T {
    T::nearest(value.into())
}

/// The options as JSON, which has no infinity: growth without a limit is what Prodigy has without the option.
fn json(options: &Table) -> serde_json::Value {
    let mut options = options.clone();
    options.retain(|_, value| value.as_float() != Some(f64::INFINITY));
    serde_json::to_value(options).unwrap()
}

/// The groups: tensors listed and options, the base first.
fn groups(config: &Table) -> Vec<(Vec<String>, Table)> {
    let base = config["optimizer"].as_table().unwrap();
    let listed = config.get("group").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = listed.into_iter().map(|group| {
        let mut options = base.clone();
        options.extend(group.as_table().unwrap().clone());
        let names = options.remove("names").unwrap();
        let names = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        (names.collect(), options)
    });
    [(Vec::new(), base.clone())].into_iter().chain(own).collect()
}

/// Replays a case, and gives the largest error of each kind of expectation, relative to the largest value of its
/// tensor.
fn replay<T: Number>(case: &str) -> BTreeMap<String, f64> {
    let (bytes, config) = golden(case);
    let trace = SafeTensors::deserialize(&bytes).unwrap();
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    let steps: u32 = metadata["steps"].parse().unwrap();
    let groups = groups(&config);
    let made: Vec<Box<dyn Rule>> = groups
        .iter()
        .map(|(_, options)| rule(options["rule"].as_str().unwrap(), &json(options)))
        .collect();
    let names: Vec<&str> =
        trace.names().into_iter().filter_map(|name| name.strip_prefix("param/")).collect();
    let group_of = |name: &str| {
        groups.iter().position(|(names, _)| names.iter().any(|own| own == name)).unwrap_or(0)
    };
    let rules: Vec<&dyn Rule> = names.iter().map(|name| &*made[group_of(name)]).collect();
    let base = &groups[0].1;
    let mut tensors: Vec<Tensor<T>> = Vec::new();
    for (name, rule) in names.iter().zip(&rules) {
        let param = trace.tensor(&format!("param/{name}")).unwrap();
        let mut tensor = Tensor::shaped(*rule, param.shape(), values(&param));
        if let Some(k) = base.get("lookahead_k").and_then(Value::as_integer) {
            let alpha = base["lookahead_alpha"].as_float().unwrap();
            tensor = tensor.lookahead(k.try_into().unwrap(), alpha);
        }
        if let Some(decay) = base.get("ema_decay").and_then(Value::as_float) {
            tensor = tensor.ema(decay);
        }
        tensors.push(tensor);
    }

    for t in 1..=steps {
        let recorded: Option<Vec<f64>> = trace.tensor(&format!("lr/{t}")).ok().map(|v| values(&v));
        let lr_of = |group: usize| {
            let own = groups[group].1["lr"].as_float().unwrap();
            match recorded.as_deref() {
                None => own,
                Some([lr]) => lr * (own / base["lr"].as_float().unwrap()),
                Some(lrs) => lrs[group],
            }
        };
        let lrs: Vec<f64> = names.iter().map(|name| lr_of(group_of(name))).collect();
        let grads: Vec<Option<Vec<T>>> = names
            .iter()
            .map(|name| trace.tensor(&format!("grad/{t}/{name}")).ok().map(|view| values(&view)))
            .collect();
        let grads: Vec<Option<&[T]>> = grads.iter().map(Option::as_deref).collect();
        step_groups(&rules, &mut tensors, &lrs, &grads);
    }

    let mut worst = BTreeMap::new();
    for (key, expected) in trace.tensors() {
        let (kind, rest) = key.split_once('/').unwrap_or((&key, ""));
        let name = rest.rsplit('/').next().unwrap();
        let index = names.iter().position(|known| *known == name).unwrap_or(0);
        let (tensor, rule) = (&tensors[index], rules[index]);
        let (what, found) = match kind {
            "expect" => ("param", &*tensor.param),
            "expect_average" => ("average", tensor.get(rule, "average")),
            "expect_state" => {
                let slot = rest.strip_suffix(name).unwrap().trim_end_matches('/');
                (slot, tensor.get(rule, slot))
            }
            "expect_d" => ("d", tensor.get(rule, "d")),
            _ => continue,
        };
        let expected: Vec<f64> = values(&expected);
        assert_eq!(found.len(), expected.len(), "{case}: {key}");
        let largest = expected.iter().fold(0.0f64, |max, value| max.max(value.abs()));
        let of_kind = worst.entry(what.to_owned()).or_insert(0.0f64);
        for (found, expected) in found.iter().zip(&expected) {
            let error = ((*found).into() - expected).abs() / largest.max(f64::MIN_POSITIVE);
            assert!(error.is_finite(), "{case}: {key}: {found:?}");
            *of_kind = of_kind.max(error);
        }
    }
    worst
}

/// The cases, what is expected of each, and the largest error that is allowed.
const CASES: &[(&str, &[&str], f64)] = &[
    ("adafactor", &["col_var", "param", "row_var", "variance"], 1e-6),
    ("adafactor_options", &["col_var", "param", "row_var", "variance"], 1e-6),
    ("prodigy", &["d", "exp_avg", "exp_avg_sq", "p0", "param", "s"], 3e-6),
    ("prodigy_options", &["d", "exp_avg", "exp_avg_sq", "p0", "param", "s"], 3e-6),
    ("prodigy_coupled", &["d", "exp_avg", "exp_avg_sq", "p0", "param", "s"], 3e-6),
    ("lookahead", &["exp_avg", "exp_avg_sq", "param", "slow"], 1e-6),
    ("ema", &["average", "momentum_buffer", "param"], 1e-6),
    ("lookahead_ema", &["average", "momentum_buffer", "param", "slow"], 1e-6),
];

fn check<T: Number>() {
    for (case, kinds, tolerance) in CASES {
        let worst = replay::<T>(case);
        println!("{case}: {worst:?}");
        assert!(worst.keys().eq(*kinds), "{case}: {worst:?}");
        assert!(worst.values().all(|error| error <= tolerance), "{case}: {worst:?}");
    }
}

#[test]
fn the_oracle_agrees_with_the_references() {
    check::<f64>();
}

#[test]
fn the_twin_agrees_with_the_references() {
    check::<f32>();
}
