//! A run that continues from a file goes on as if nothing had been.

use fallline::{
    AdamW, Dtype, DynamicScale, Group, LoadOptions, LossScaler, Optimizer, Options, Precision,
    StateFormat,
};
use fallline_checkpoint::{Checkpoint, Checkpoints};

use crate::common::{begin, differ, gpu, held, optimizer, run, says, scratch, specs};

const KEPT: [(Dtype, Precision); 7] = [
    (Dtype::F32, Precision::Nearest),
    (Dtype::F16, Precision::Nearest),
    (Dtype::F16, Precision::Master),
    (Dtype::Bf16, Precision::Stochastic),
    (Dtype::Bf16, Precision::Master),
    (Dtype::Bf16, Precision::Remainder),
    (Dtype::Bf16, Precision::Remainder8),
];

/// Straight on, and through a file.
fn check(gpu: &fallline::Gpu, group: &Group, (dtype, precision): (Dtype, Precision)) {
    let name = format!("{} {} {dtype} {precision}", group.rule.name(), group.state);
    let specs = specs(dtype, precision);
    let (_folder, path) = scratch();
    let mut straight = optimizer(gpu, group, &specs, 17);
    begin(&straight);
    run(&mut straight, 0..4);
    Checkpoint::save(&path, &straight, 4, &()).unwrap();
    let mut resumed = optimizer(gpu, group, &specs, 5);
    Checkpoint::open(&path).unwrap().load(&mut resumed).unwrap();
    assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0], "{name}");
    run(&mut straight, 4..6);
    run(&mut resumed, 4..6);
    assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0], "{name}");
}

#[test]
fn every_rule_resumes_to_the_bit() {
    let gpu = gpu();
    for name in fallline::RULE_NAMES {
        let options = fallline_reference::cases(name).last().expect("options");
        let options: serde_json::Value = serde_json::from_str(options).expect("JSON");
        let rule = fallline::deserialize_rule(name, options).expect("options of the rule");
        check(&gpu, &Group::new("all", rule).state(StateFormat::Int8), KEPT[0]);
    }
}

#[test]
fn every_format_and_precision_resumes_to_the_bit() {
    let gpu = gpu();
    for &state in StateFormat::ALL {
        // Small tensors too, of which the last block is not whole.
        let group = Group::new("all", AdamW::new().lr(1e-2)).state(state).min_state_elems(0);
        for kept in KEPT {
            check(&gpu, &group, kept);
        }
    }
}

#[test]
fn the_loss_scale_resumes() {
    let gpu = gpu();
    let specs = specs(Dtype::F32, Precision::Nearest);
    let build = |init_scale: f64| {
        let rule = DynamicScale { init_scale, growth_interval: 3, ..DynamicScale::default() };
        let scaler = LossScaler::dynamic(&gpu, rule).unwrap();
        let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
        let groups = [Group::new("all", AdamW::new())];
        (Optimizer::arena_with(&gpu, &groups, &specs, &options).unwrap(), scaler)
    };
    let (_folder, path) = scratch();
    let (mut straight, scale) = build(64.0);
    begin(&straight);
    run(&mut straight, 0..4);
    Checkpoint::save(&path, &straight, 4, &()).unwrap();
    let (mut resumed, resumed_scale) = build(2.0);
    Checkpoint::open(&path).unwrap().load(&mut resumed).unwrap();
    assert_eq!(scale.read().unwrap(), (128.0, 1));
    assert_eq!(resumed_scale.read().unwrap(), (128.0, 1));
    run(&mut straight, 4..7);
    run(&mut resumed, 4..7);
    assert_eq!(scale.read().unwrap(), resumed_scale.read().unwrap());
    assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0]);
}

#[test]
fn parameters_may_lie_elsewhere() {
    let gpu = gpu();
    let group = Group::new("all", AdamW::new()).state(StateFormat::Bf16);
    for kept in KEPT {
        let specs = specs(kept.0, kept.1);
        let mut straight = optimizer(&gpu, &group, &specs, 17);
        begin(&straight);
        run(&mut straight, 0..4);
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path()).without_params();
        checkpoints.save(&straight, 4, &()).unwrap();
        let checkpoint = checkpoints.latest().unwrap().unwrap();
        assert!(checkpoint.entries().iter().all(|entry| entry.what != "param"));

        let mut resumed = optimizer(&gpu, &group, &specs, 5);
        let error = says(&checkpoint.load(&mut resumed).unwrap_err());
        assert!(error.contains("param of tensor 'layer.0/weight' was not saved"), "{error}");
        // The caller has them as values.
        for (id, _) in straight.tensors() {
            resumed.write_param(id, &straight.read_param(id).unwrap()).unwrap();
        }
        let keep = LoadOptions::new().keep_params();
        checkpoint.load_with(&mut resumed, keep).unwrap();
        assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0], "{kept:?}");
        run(&mut straight, 4..6);
        run(&mut resumed, 4..6);
        assert_eq!(differ(&held(&straight), &held(&resumed)), [""; 0], "{kept:?}");

        // Those that were saved are not loaded either, if that is asked for.
        let whole = folder.path().join("whole.safetensors");
        Checkpoint::save(&whole, &straight, 6, &()).unwrap();
        begin(&resumed);
        let before: Vec<_> = read_params(&resumed);
        for options in [keep, keep.convert()] {
            Checkpoint::open(&whole).unwrap().load_with(&mut resumed, options).unwrap();
            assert_eq!(read_params(&resumed), before, "{kept:?}");
        }
    }
}

fn read_params(optimizer: &Optimizer) -> Vec<Vec<f32>> {
    optimizer.tensors().map(|(id, _)| optimizer.read_param(id).unwrap()).collect()
}

/// State of 17 million elements comes in several chunks, and blocks are read from the middle of tiles.
#[test]
fn other_formats_are_converted_only_when_that_is_asked_for() {
    let gpu = gpu();
    let specs = [fallline::TensorSpec::new("large", [17_000_000])];
    let group = |state| Group::new("all", AdamW::new()).state(state);
    let mut coded = optimizer(&gpu, &group(StateFormat::Int8), &specs, 0);
    let id = coded.id("large").unwrap();
    coded.write_grad(id, &crate::common::values(1, 17_000_000)).unwrap();
    coded.step(&fallline::Step::new()).unwrap();
    let (_folder, path) = scratch();
    Checkpoint::save(&path, &coded, 1, &()).unwrap();

    let mut exact = optimizer(&gpu, &group(StateFormat::F32), &specs, 0);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = says(&checkpoint.load(&mut exact).unwrap_err());
    let expected = format!(
        "cannot load {}: state/exp_avg of tensor 'large' must be f32 [17000000], but was saved as \
         int8 [17000000]; state/exp_avg_sq",
        path.display()
    );
    assert!(error.starts_with(&expected), "{error}");
    checkpoint.load_with(&mut exact, LoadOptions::new().convert()).unwrap();
    for slot in ["exp_avg", "exp_avg_sq"] {
        let [found, expected] = [&exact, &coded].map(|o| o.read_state(id, slot).unwrap());
        assert!(found == expected && found.iter().any(|value| *value != 0.0), "{slot}");
    }
}
