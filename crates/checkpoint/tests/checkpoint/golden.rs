//! Files of every version of the format, which load for ever, and those that were made of PyTorch's.

use std::{env, fs, path::PathBuf};

use fallline::{
    Adafactor, Adam, AdamW, Dtype, DynamicScale, Gpu, Group, Lion, LossScaler, Optimizer, Options,
    Precision, Prodigy, Sgd, StateFormat, Step, TensorId, TensorSpec,
};
use fallline_checkpoint::{Checkpoint, FORMAT_VERSION};
use safetensors::SafeTensors;

use crate::common::{gpu, held, values};

/// A file beside the golden traces.
fn golden(name: &str) -> PathBuf {
    // Where cargo says that this package is, or where it was built: tests may run on another machine.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("../../tests/golden/checkpoints").join(name)
}

/// What the optimizer of version 1 is: each encoding once at least, and a loss scale.
fn first(gpu: &Gpu) -> Optimizer {
    let coded = |name: &str, state| Group::new(name, AdamW::new()).state(state).min_state_elems(0);
    let groups = [
        Group::new("int8", AdamW::new().amsgrad(true)).state(StateFormat::Int8).min_state_elems(0),
        Group::new("int4", Lion::new()).state(StateFormat::Int4).min_state_elems(0),
        Group::new("fp8", Adam::new()).state(StateFormat::Fp8).min_state_elems(0),
        coded("companded", StateFormat::Companded),
        coded("bf16", StateFormat::Bf16),
        Group::new("momentum", Sgd::new().momentum(0.9)),
        Group::new("rows", Adafactor::new()),
        Group::new("joint", Prodigy::new()),
    ];
    let spec = |name: &str, shape: &[usize], group: &str| {
        TensorSpec::new(name, shape.to_vec()).in_group(group).grad_dtype(Dtype::F32)
    };
    let bf16 = |spec: TensorSpec, precision| spec.dtype(Dtype::Bf16).precision(precision);
    let tensors = [
        spec("int8", &[20, 15], "int8"),
        bf16(spec("a/b.int4", &[301], "int4"), Precision::Remainder),
        spec("int4 and more", &[2, 64], "companded").state(StateFormat::Int4),
        bf16(spec("fp8", &[7, 40], "fp8"), Precision::Remainder8),
        spec("companded", &[260], "companded").dtype(Dtype::F16).precision(Precision::Master),
        bf16(spec("bf16", &[33], "bf16"), Precision::Stochastic),
        spec("momentum", &[], "momentum"),
        spec("rows", &[6, 9], "rows"),
        spec("joint", &[10], "joint"),
    ];
    let scale = DynamicScale { init_scale: 64.0, growth_interval: 3, ..DynamicScale::default() };
    let loss_scaler = Some(LossScaler::dynamic(gpu, scale).unwrap());
    let options = Options { seed: 7, loss_scaler, ..Options::default() };
    Optimizer::arena_with(gpu, &groups, &tensors, &options).unwrap()
}

/// Writes a file of the present version, where there is none yet.
#[test]
#[ignore = "done once for each version"]
fn write() {
    let path = golden(&format!("v{FORMAT_VERSION}.safetensors"));
    assert!(!path.exists(), "{} is never written anew", path.display());
    let mut optimizer = first(&gpu());
    let tensors: Vec<(TensorId, usize)> =
        optimizer.tensors().map(|(id, spec)| (id, spec.shape.iter().product())).collect();
    for step in 0..4 {
        for (id, len) in &tensors {
            if step == 0 {
                optimizer.write_param(*id, &values(7, *len)).unwrap();
            }
            optimizer.write_grad(*id, &values(10 + step, *len)).unwrap();
        }
        optimizer.step(&Step::new()).unwrap();
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    Checkpoint::save(&path, &optimizer, 4, &serde_json::json!({ "epoch": 2, "lr": 0.1 })).unwrap();
}

#[test]
fn every_version_loads_for_ever() {
    let gpu = gpu();
    for version in 1..=FORMAT_VERSION {
        let checkpoint = Checkpoint::open(golden(&format!("v{version}.safetensors"))).unwrap();
        let mut optimizer = first(&gpu);
        checkpoint.load(&mut optimizer).unwrap();
        assert_eq!(checkpoint.step(), 4);
        let extra: serde_json::Value = checkpoint.extra().unwrap();
        assert_eq!(extra, serde_json::json!({ "epoch": 2, "lr": 0.1 }));
        let held = held(&optimizer);
        for (entry, bytes) in held.entries.iter().zip(&held.bytes) {
            assert_eq!(checkpoint.read(entry).unwrap(), *bytes, "version {version}: {entry}");
        }
        assert_eq!(optimizer.read_steps().unwrap(), [4; 9]);
    }
}

/// `tools/read_checkpoint.py --out` wrote the values.
#[test]
fn what_python_decodes_is_what_the_engine_reads() {
    let mut optimizer = first(&gpu());
    Checkpoint::open(golden("v1.safetensors")).unwrap().load(&mut optimizer).unwrap();
    let bytes = fs::read(golden("v1_values.safetensors")).unwrap();
    let decoded = SafeTensors::deserialize(&bytes).unwrap();
    let bits = |name: &str| -> Vec<u32> {
        let data = decoded.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
        data.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    };
    let same = |name: String, found: Vec<f32>| {
        let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
        assert_eq!(found, bits(&name), "{name}");
    };
    let mut compared = 0;
    for (id, spec) in optimizer.tensors() {
        let name = &spec.name;
        for slot in optimizer.slots(id).unwrap() {
            let found = optimizer.read_state(id, slot.name).unwrap();
            same(format!("state/{}/{name}", slot.name), found);
            compared += 1;
        }
        if spec.precision.size_bytes() > 0 {
            same(format!("master/{name}"), optimizer.read_master(id).unwrap());
            compared += 1;
        }
    }
    let of_params = decoded.names().iter().filter(|name| name.starts_with("param/")).count();
    assert_eq!(compared + of_params, decoded.len());
}
