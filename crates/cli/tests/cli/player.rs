//! `fallline export`, and its plans played by `tools/player.mjs` in another WebGPU, Dawn, and by `tools/player.hpp` with
//! wgpu-native, on the driver that the engine itself runs on: `cargo xtask player` fetches these.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use fallline::{
    Adafactor, AdamW, Dtype, DynamicScale, Gpu, Group, LossScaler, Optimizer, Options, Precision,
    StateFormat, Step, TensorId, TensorSpec,
    plan::{Plan, Role},
    wgpu::Limits,
};
use half::{bf16, f16};
use serde_json::{Value, json};

use crate::common::{Ran, fallline, package, repository, run, run_in, scratch};

const SHAPES: [(&str, &[usize]); 4] =
    [("weight", &[130, 100]), ("bias", &[257]), ("scale", &[]), ("embedding", &[41, 120])];

/// In the order of the file.
fn shapes() -> String {
    let shape = |(name, shape): &(&str, &[usize])| format!("\"{name}\": {shape:?}");
    format!("{{{}}}", SHAPES.iter().map(shape).collect::<Vec<_>>().join(", "))
}

/// A folder of this test with the model in it.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("shapes.json"), shapes()).unwrap();
    folder
}

fn export(folder: &Path, options: &[&str]) -> Ran {
    let [model, plan] = ["shapes.json", "plan"].map(|file| folder.join(file));
    let named = ["export", "--model", model.to_str().unwrap(), "-o", plan.to_str().unwrap()];
    fallline(&[&named, options].concat())
}

fn plan(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("plan/plan.json")).unwrap()).unwrap()
}

#[test]
fn a_plan_is_whole_and_takes_the_place_of_another() {
    let folder = folder("whole");
    // No GPU is needed, nor looked for.
    let ran = export(&folder, &["--backend", "dx12"]).good();
    assert!(ran.out.starts_with("adamw for 4 tensors, 18178 parameters in all\n"), "{}", ran.out);
    let first = plan(&folder);
    assert_eq!((&first["format"], &first["version"]), (&json!("fallline-plan"), &json!(1)));
    assert_eq!(first["requiredLimits"], json!({}));
    assert_eq!(first["tensors"][3]["name"], "embedding");
    let of_kernel = |plan: &Value, kernel: usize| plan["kernels"][kernel]["wgsl"].clone();
    assert_eq!(of_kernel(&first, 1), "kernels/1-adamw.wgsl");
    let files = || {
        let kernels = fs::read_dir(folder.join("plan/kernels")).unwrap();
        (kernels.count(), fs::read_dir(&folder).unwrap().count())
    };
    assert_eq!(files(), (2, 2));
    export(&folder, &["--rule", "lion", "--clip", "1"]).good();
    assert_eq!(of_kernel(&plan(&folder), 5), "kernels/5-lion.wgsl");
    // Nothing is left of the first, nor beside the second.
    assert_eq!(files(), (6, 2));
    export(&folder, &["--rule", "lion", "--clip", "1"]).good();
    assert_eq!(files(), (6, 2));
    // What contents say lies in the file.
    let plan = plan(&folder);
    let size = fs::metadata(folder.join("plan/plan.bin")).unwrap().len();
    let input = &plan["stepInput"]["bytes"];
    assert_eq!(input["at"].as_u64().unwrap() + input["size"].as_u64().unwrap(), size);
}

#[test]
fn wrong_input_is_named() {
    let folder = folder("wrong");
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    export(&folder, &["--lr", "-1"]).refuses("--lr must be a finite number >= 0, found -1.0");
    export(&folder, &["--master", "remainder"]).refuses("--master remainder needs --param bf16");
    let sum = ["--caution", "--rule", "schedulefree_sgd"];
    export(&folder, &sum).refuses("group 'all' cannot have caution");
    let config = write("config.toml", "[optimizer]\nrule = 'sgd'\nfrozen = { from_step = 2 }\n");
    export(&folder, &["--config", &config]).refuses("config.toml: frozen must be true or false");
    let schedule = "[optimizer]\nrule = 'sgd'\n[schedule]\nkind = 'constant'\n";
    let config = write("config.toml", schedule);
    export(&folder, &["--config", &config]).refuses("config.toml: a plan has no schedules");
    let config = write("config.toml", "[optimizer]\nrule = 'sgd'\nlr = 'x'\n");
    export(&folder, &["--config", &config]).refuses("config.toml: [optimizer]");
    let ran = export(&folder, &["--config", &config, "--lr", "1"]);
    assert!(ran.code == Some(2) && ran.err.contains("'--config <FILE>' cannot be used"), "{ran:?}");
    assert!(!folder.join("plan").exists());
    write("shapes.json", "{\"w\": [1, \"x\"]}");
    export(&folder, &[])
        .says("the shape of 'w' must be a list of whole numbers >= 0, found [1,\"x\"]");
    write("shapes.json", "{\"w\": [1], \"w\": [2]}");
    export(&folder, &[]).says("tensor 'w' is given twice");
    fs::remove_file(folder.join("shapes.json")).unwrap();
    export(&folder, &[]).says("cannot read");
    fs::create_dir(folder.join("plan")).unwrap();
    write("plan/mine.txt", "");
    export(&folder, &[]).refuses("plan: it is there, and no plan");
    assert!(folder.join("plan/mine.txt").exists());
}

/// With AdamW, the embedding of GPT-2 small has more state than a buffer of WebGPU's defaults holds.
#[test]
fn a_plan_may_be_for_larger_buffers() {
    let folder = folder("large");
    fs::write(folder.join("shapes.json"), "{\"wte\": [50257, 768]}").unwrap();
    export(&folder, &[]).says("tensor 'wte' needs 308779008 bytes in one buffer");
    export(&folder, &["--max-buffer-size", "1073741824"]).good();
    assert_eq!(plan(&folder)["requiredLimits"], json!({ "maxBufferSize": 308_779_008 }));
}

/// An optimizer of the engine's that is the one of some options, and how it is stepped.
struct Case {
    name: &'static str,
    options: &'static [&'static str],
    /// As `--config`.
    config: Option<&'static str>,
    build: fn(&Gpu) -> Optimizer,
    overflows: bool,
    /// Changes in step 4.
    weight_decay: Option<f64>,
}

fn specs(with: impl Fn(TensorSpec) -> TensorSpec) -> Vec<TensorSpec> {
    SHAPES.iter().map(|(name, shape)| with(TensorSpec::new(*name, *shape))).collect()
}

const CASES: [Case; 4] = [
    Case {
        name: "plain",
        options: &["--lr", "0.01"],
        config: None,
        build: |gpu| {
            let groups = [Group::new("all", AdamW::new().lr(0.01))];
            Optimizer::arena(gpu, &groups, &specs(|spec| spec)).unwrap()
        },
        overflows: false,
        weight_decay: Some(0.25),
    },
    Case {
        name: "scaled",
        options: &["--state", "int8", "--clip", "0.5", "--loss-scale", "dynamic:1024"],
        config: None,
        build: |gpu| {
            let groups = [Group::new("all", AdamW::new()).state(StateFormat::Int8)];
            let scale = DynamicScale { init_scale: 1024.0, ..DynamicScale::default() };
            let loss_scaler = Some(LossScaler::dynamic(gpu, scale).unwrap());
            let options = Options { max_norm: Some(0.5), loss_scaler, ..Options::default() };
            Optimizer::arena_with(gpu, &groups, &specs(|spec| spec), &options).unwrap()
        },
        overflows: true,
        weight_decay: None,
    },
    Case {
        name: "sixteen-bits",
        options: &[
            "--param",
            "bf16",
            "--master",
            "remainder",
            "--grad",
            "f16",
            "--state",
            "bf16",
            "--caution",
            "--ema-decay",
            "0.9",
            "--seed",
            "7",
        ],
        config: None,
        build: |gpu| {
            let group = Group::new("all", AdamW::new()).state(StateFormat::Bf16);
            let groups = [group.caution(true).ema_decay(0.9)];
            let formats = |spec: TensorSpec| {
                spec.dtype(Dtype::Bf16).grad_dtype(Dtype::F16).precision(Precision::Remainder)
            };
            let options = Options { seed: 7, ..Options::default() };
            Optimizer::arena_with(gpu, &groups, &specs(formats), &options).unwrap()
        },
        overflows: false,
        weight_decay: None,
    },
    Case {
        name: "groups",
        options: &[],
        config: Some(
            "[optimizer]\nrule = 'adafactor'\nlr = 0.02\n[clip]\nvalue = 0.125\n[[group]]\n\
             max_dims = 1\nrule = 'adamw'\nlr = 0.001\nweight_decay = 0.0\n",
        ),
        build: |gpu| {
            let groups = [
                Group::new("optimizer", Adafactor::new().lr(0.02)),
                Group::new("[[group]] number 1", AdamW::new().lr(0.001).weight_decay(0.0)),
            ];
            let group = |spec: TensorSpec| {
                let number = usize::from(spec.shape.len() < 2);
                spec.in_group(["optimizer", "[[group]] number 1"][number])
            };
            let options = Options { clip_value: Some(0.125), ..Options::default() };
            Optimizer::arena_with(gpu, &groups, &specs(group), &options).unwrap()
        },
        overflows: false,
        weight_decay: None,
    },
];

/// Reproducible numbers of seven bits, which every format holds.
fn numbers(seed: usize, len: usize) -> Vec<f32> {
    let number = |i: usize| {
        let mixed = (i + 7 * seed + 1).wrapping_mul(2_654_435_761) >> 9;
        (f32::from(i16::try_from(mixed % 255).unwrap()) - 127.0) / 256.0
    };
    (0..len).map(number).collect()
}

/// These in a format, in whole words.
fn encoded(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let code = |value: &f32| match dtype {
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::Bf16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let mut bytes: Vec<u8> = values.iter().flat_map(code).collect();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// What the player gets: numbers, and bytes beside them.
#[derive(Default)]
struct Recording {
    bytes: Vec<u8>,
}

impl Recording {
    fn put(&mut self, mut what: Value, bytes: &[u8]) -> Value {
        (what["at"], what["size"]) = (self.bytes.len().into(), bytes.len().into());
        self.bytes.extend_from_slice(bytes);
        what
    }

    /// The contents of some buffers.
    fn buffers(&mut self, plan: &Plan, is_in: impl Fn(Role) -> bool) -> Vec<Value> {
        let buffers = plan.buffers.iter().enumerate().filter(|(_, buffer)| is_in(buffer.role));
        let put = |(number, buffer): (usize, &fallline::plan::Buffer)| match &buffer.contents {
            Some(c) => self.put(json!({ "buffer": number, "offset": c.offset }), &c.bytes),
            None => self.put(json!({ "buffer": number, "offset": 0 }), &[]),
        };
        buffers.map(put).collect()
    }
}

/// Steps the engine, and writes what it did beside a plan of `fallline export`.
fn record(gpu: &Gpu, case: &Case) -> PathBuf {
    let folder = folder(case.name);
    let config = folder.join("config.toml");
    let mut options = case.options.to_vec();
    if let Some(text) = case.config {
        fs::write(&config, text).unwrap();
        options.extend(["--config", config.to_str().unwrap()]);
    }
    export(&folder, &options).good();

    let mut recording = Recording::default();
    let mut optimizer = (case.build)(gpu);
    for (index, (_, shape)) in SHAPES.iter().enumerate() {
        let values = numbers(index, shape.iter().product());
        optimizer.write_param(TensorId::new(index), &values).unwrap();
    }
    let planned = optimizer.read_plan().unwrap();
    let start = recording.buffers(&planned, |role| matches!(role, Role::Param | Role::Master));
    let mut steps = Vec::new();
    for step in 1..=6u32 {
        let mut grads = Vec::new();
        for (index, (name, shape)) in SHAPES.iter().enumerate() {
            let mut values = numbers(10 * step as usize + index, shape.iter().product());
            if case.overflows && step == 3 && *name == "bias" {
                values[200] = f32::INFINITY;
            }
            let id = TensorId::new(index);
            optimizer.write_grad(id, &values).unwrap();
            let dtype = planned.tensors[index].grad_dtype;
            grads.push(recording.put(json!({ "tensor": name }), &encoded(dtype, &values)));
        }
        let factor = 1.0 / f64::from(step);
        let absent = [TensorId::new(1)];
        let mut engines = Step::lr_factor(factor);
        let mut brings = json!({ "factor": factor, "grads": grads });
        match (step, case.weight_decay) {
            (2, _) => {
                engines = engines.without_grad(&absent).accumulated(2);
                brings["withoutGrad"] = json!(["bias"]);
                brings["accumulated"] = json!(2);
            }
            (4, Some(weight_decay)) => {
                let rule = AdamW::new().lr(0.01).weight_decay(weight_decay);
                optimizer.set_rule("all", rule).unwrap();
                brings["hyperparameters"] = json!({ "weight_decay": weight_decay });
            }
            (5, Some(_)) => optimizer.set_rule("all", AdamW::new().lr(0.01)).unwrap(),
            (6, _) => {
                engines = engines.zero_grads();
                brings["zeroGrads"] = json!(true);
            }
            _ => {}
        }
        optimizer.step(&engines).unwrap();
        steps.push(brings);
    }
    let taken = optimizer.read_steps().unwrap();
    assert_eq!(taken[0], 6 - u32::from(case.overflows), "{}: a step must be skipped", case.name);
    let ended = optimizer.read_plan().unwrap();
    let end = recording.buffers(&ended, |role| role != Role::StepInput);
    let index = json!({ "start": start, "steps": steps, "end": end });
    fs::write(folder.join("run.json"), index.to_string()).unwrap();
    fs::write(folder.join("run.bin"), recording.bytes).unwrap();
    folder
}

/// Node, with Dawn in the place of a browser's WebGPU.
fn node() -> Command {
    let dawn = env::var_os("FALLLINE_DAWN");
    let dawn = dawn.expect("FALLLINE_DAWN must name Dawn for Node: run `cargo xtask player`");
    let mut node = Command::new("node");
    node.env("FALLLINE_DAWN", dawn).arg("--import").arg(here("node.mjs"));
    node
}

fn here(file: &str) -> PathBuf {
    package().join("tests/cli").join(file)
}

/// A program in C++, built with wgpu-native in the place of a browser's WebGPU.
fn compiled(source: &Path) -> Command {
    let native = env::var_os("FALLLINE_WGPU_NATIVE").map(PathBuf::from);
    let native = native.expect("FALLLINE_WGPU_NATIVE must be its folder: run `cargo xtask player`");
    let json = env::var_os("FALLLINE_JSON").expect("FALLLINE_JSON: run `cargo xtask player`");
    let program = scratch("program");
    let mut compiler = Command::new("g++");
    compiler.args(["-std=c++20", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(source);
    for headers in [repository("tools"), here(""), native.join("include"), json.into()] {
        compiler.arg("-I").arg(headers);
    }
    let rpath = format!("-Wl,-rpath,{}", native.display());
    run(compiler.arg(native.join("libwgpu_native.so")).arg(rpath)).good();
    Command::new(program)
}

/// The steps that the engine has taken, a folder for each case.
fn recordings() -> Vec<PathBuf> {
    let limits = Limits::default();
    let gpu = Gpu::from_env().and_then(|gpu| gpu.restrict_limits(&limits)).unwrap();
    CASES.iter().map(|case| record(&gpu, case)).collect()
}

fn plays_all(player: &mut Command) {
    let ran = run(player.args(recordings())).good();
    assert_eq!(ran.out.matches("6 steps, ").count(), CASES.len(), "{ran:?}");
    println!("{}", ran.out);
}

#[test]
#[ignore = "needs Dawn for Node: cargo xtask player"]
fn a_plan_takes_the_engines_steps_in_another_webgpu() {
    plays_all(node().arg(here("play.mjs")).arg(repository("tools/player.mjs")));
}

#[test]
#[ignore = "needs wgpu-native: cargo xtask player"]
fn a_plan_takes_the_engines_steps_in_cpp() {
    plays_all(&mut compiled(&here("play.cpp")));
}

/// The program on the page for runtimes that are not in Rust, in this language, in a folder with its plan.
fn program_of_the_guide(language: &str, name: &str) -> (PathBuf, String) {
    let page = fs::read_to_string(repository("crates/fallline/src/guide/javascript.md")).unwrap();
    let begin = format!("```{language}\n");
    let program = page.split(&begin).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = folder(name);
    fs::write(folder.join("shapes.json"), "{\"weight\": [100, 30]}").unwrap();
    export(&folder, &[]).good();
    (folder, program.to_owned())
}

fn trains(folder: &Path, program: &mut Command) {
    let ran = run_in(folder, program).good();
    let farthest: f64 = ran.out.trim().parse().expect("it prints a number");
    // Weight decay holds against it.
    assert!(farthest < 0.05, "{ran:?}");
}

#[test]
#[ignore = "needs Dawn for Node: cargo xtask player"]
fn the_guides_program_trains() {
    let (folder, program) = program_of_the_guide("js", "guide");
    fs::copy(repository("tools/player.mjs"), folder.join("player.mjs")).unwrap();
    fs::write(folder.join("program.mjs"), program).unwrap();
    trains(&folder, node().arg("program.mjs"));
}

#[test]
#[ignore = "needs wgpu-native: cargo xtask player"]
fn the_guides_program_in_cpp_trains() {
    let (folder, program) = program_of_the_guide("cpp", "guide");
    let main = "int main() {
  float farthest = 0.0f;
  for (float value : train(instance(), requestDevice()))
    farthest = std::max(farthest, std::abs(value - 3.0f));
  std::printf(\"%f\\n\", farthest);
}
";
    let source = folder.join("program.cpp");
    fs::write(&source, format!("#include \"device.hpp\"\n{program}\n{main}")).unwrap();
    trains(&folder, &mut compiled(&source));
}
