//! Oracle and twin against what the references made of the same gradients.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use fallline_reference::{Averaging, Number, Rule, Steering, Tensor, rule, step_groups};
use safetensors::{SafeTensors, tensor::TensorView};
use toml::{Table, Value};

/// That of the traces: from where cargo says that this package is, or where it was built.
fn folder() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("../../tests/golden")
}

/// The case's trace and its config.
fn golden(case: &str) -> (Vec<u8>, Table) {
    let dir = folder();
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

/// What a tensor has around its rule, but Lookahead.
fn around<T: Number>(tensor: Tensor<T>, options: &Table) -> Tensor<T> {
    let is_on = |key| options.get(key).and_then(Value::as_bool).unwrap_or(false);
    let float = |key| options.get(key).and_then(Value::as_float);
    let count = |key| options.get(key).and_then(Value::as_integer).map(|n| n.try_into().unwrap());
    let tensor = tensor.steered(Steering {
        caution: is_on("caution"),
        cautious_decay: is_on("cautious_decay"),
        update_clipping: float("update_clipping"),
    });
    let (start, every) = (count("swa_start"), count("swa_every"));
    match float("ema_decay") {
        Some(decay) => tensor.averaged(Averaging::Ema { decay, warmup: is_on("ema_warmup") }),
        None if start.or(every).is_some() => {
            tensor.averaged(Averaging::Swa { start: start.unwrap_or(1), every: every.unwrap_or(1) })
        }
        None => tensor,
    }
}

/// Replays a case, and gives the largest error of each kind of expectation, relative to the largest value of its
/// tensor; of a single number, which may nearly cancel, to the largest of its kind.
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
        tensors.push(around(tensor, &groups[group_of(name)].1));
    }

    for t in 1..=steps {
        let recorded: Option<Vec<f64>> = trace.tensor(&format!("lr/{t}")).ok().map(|v| values(&v));
        let lr_of = |group: usize| {
            // Without one there is a relative step, of which it is a factor.
            let given =
                |options: &Table| options.get("lr").and_then(Value::as_float).unwrap_or(1.0);
            let own = given(&groups[group].1);
            match recorded.as_deref() {
                None => own,
                Some([lr]) => lr * (own / given(base)),
                Some(lrs) => lrs[group],
            }
        };
        let lrs: Vec<f64> = names.iter().map(|name| lr_of(group_of(name))).collect();
        for (tensor, (name, rule)) in tensors.iter_mut().zip(names.iter().zip(&rules)) {
            if let Ok(estimate) = trace.tensor(&format!("hessian/{t}/{name}")) {
                tensor.estimate(*rule, &values(&estimate));
            }
        }
        let grads: Vec<Option<Vec<T>>> = names
            .iter()
            .map(|name| trace.tensor(&format!("grad/{t}/{name}")).ok().map(|view| values(&view)))
            .collect();
        let grads: Vec<Option<&[T]>> = grads.iter().map(Option::as_deref).collect();
        step_groups(&rules, &mut tensors, &lrs, &grads);
    }

    let largest_of_kind = |what: &str| {
        let views = trace.tensors().into_iter().filter(|(key, _)| kind(key) == Some(what));
        let values = views.flat_map(|(_, view)| values::<f64>(&view));
        values.fold(0.0f64, |max, value| max.max(value.abs()))
    };
    let mut worst = BTreeMap::new();
    for (key, expected) in trace.tensors() {
        let (kind, rest) = key.split_once('/').unwrap_or((&key, ""));
        let name = rest.rsplit('/').next().unwrap();
        let index = names.iter().position(|known| *known == name).unwrap_or(0);
        let (tensor, rule) = (&tensors[index], rules[index]);
        let evaluated;
        let (what, found) = match kind {
            "expect" => ("param", &*tensor.param),
            "expect_eval" => {
                evaluated = tensor.evaluated(rule);
                ("eval", &*evaluated)
            }
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
        let of_tensor = expected.iter().fold(0.0f64, |max, value| max.max(value.abs()));
        let largest = if expected.len() == 1 { largest_of_kind(what) } else { of_tensor };
        let of_kind = worst.entry(what.to_owned()).or_insert(0.0f64);
        for (found, expected) in found.iter().zip(&expected) {
            let error = ((*found).into() - expected).abs() / largest.max(f64::MIN_POSITIVE);
            assert!(error.is_finite(), "{case}: {key}: {found:?}");
            *of_kind = of_kind.max(error);
        }
    }
    worst
}

/// The cases that are a matter of rules and of what comes after them: in f32, neither clipped nor scaled, and with
/// hyperparameters that stay. (Twins know no schedules; `fallline replay` follows those of the others.)
fn cases() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let traces = files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let mut cases: Vec<String> =
        traces.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    cases.retain(|case| {
        let config = golden(case).1;
        let is_of_rules =
            !["clip", "loss_scale", "schedule"].iter().any(|table| config.contains_key(*table));
        let groups = config.get("group").and_then(Value::as_array).into_iter().flatten();
        let has_globs = groups.into_iter().any(|group| group.get("tensors").is_some());
        is_of_rules && !has_globs && config["optimizer"].get("master").is_none()
    });
    cases
}

/// What a trace expects, by kind.
fn kinds(case: &str) -> BTreeSet<String> {
    let bytes = golden(case).0;
    let trace = SafeTensors::deserialize(&bytes).unwrap();
    trace.names().into_iter().filter_map(kind).map(str::to_owned).collect()
}

/// What a tensor of a trace is expected to be: `param`, a slot, …; `None` if it is given.
fn kind(key: &str) -> Option<&str> {
    let (kind, rest) = key.split_once('/').unwrap_or((key, ""));
    match kind {
        "expect" => Some("param"),
        "expect_state" => rest.split_once('/').map(|(slot, _)| slot),
        _ => kind.strip_prefix("expect_"),
    }
}

/// The largest error that is allowed: six times the references' own, in f32 against f64.
fn tolerance(case: &str) -> f64 {
    match case {
        // Rounding stays in d.
        "prodigy" | "prodigy_options" | "prodigy_coupled" => 3e-6,
        // What f32 has of β2 is off by 1.3e-8 in each of 300 steps.
        "adamw_long" => 4e-6,
        _ => 6.0 * 4e-7,
    }
}

fn check<T: Number>() {
    let cases = cases();
    assert!(cases.len() > 20, "{cases:?}");
    for case in cases {
        let worst = replay::<T>(&case);
        println!("{case}: {worst:?}");
        assert!(worst.keys().eq(&kinds(&case)), "{case}: {worst:?}");
        assert!(worst.values().all(|error| *error <= tolerance(&case)), "{case}: {worst:?}");
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
