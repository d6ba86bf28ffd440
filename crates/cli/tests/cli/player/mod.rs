//! `fallline export`, and its plans played by `tools/player.mjs` in another WebGPU, Dawn, and by `tools/player.hpp` with
//! wgpu-native, on the driver that the engine itself runs on: `cargo xtask player` fetches these, `cargo xtask matrix` those
//! and others.
//!
//! | module   | what it holds                             |
//! |----------|-------------------------------------------|
//! | `cases`  | optimizers                                |
//! | `record` | their steps, taken by the engine          |
//!
//! Beside them lie programs that play what was recorded, and compare: `play.mjs` is a module for any JavaScript, which
//! `files.mjs` gives what lies in folders, and `play.html` of `cargo xtask matrix` what a server has; `node.mjs` makes
//! Node a browser; `play.cpp` is the same in C++.

mod cases;
mod record;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use fallline::{Gpu, wgpu::Limits};
use serde_json::{Value, json};

use self::{
    cases::{Case, SHAPES},
    record::record,
};
use crate::common::{Ran, fallline, package, repository, run, run_in, scratch};

/// In the order of the file.
fn shapes() -> String {
    let shape = |(name, shape): &(&str, &[usize])| format!("\"{name}\": {shape:?}");
    format!("{{{}}}", SHAPES.iter().map(shape).collect::<Vec<_>>().join(", "))
}

/// A folder of this test with the model in it.
fn folder(name: &str) -> PathBuf {
    folder_in(&scratch(""), name)
}

fn folder_in(directory: &Path, name: &str) -> PathBuf {
    let folder = directory.join(name);
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

/// Node, with Dawn in the place of a browser's WebGPU.
fn node() -> Command {
    let dawn = env::var_os("FALLLINE_DAWN");
    let dawn = dawn.expect("FALLLINE_DAWN must name Dawn for Node: run `cargo xtask player`");
    let mut node = Command::new("node");
    node.env("FALLLINE_DAWN", dawn).arg("--import").arg(here("node.mjs"));
    node
}

fn here(file: &str) -> PathBuf {
    package().join("tests/cli/player").join(file)
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
fn recordings(cases: &[Case], directory: &Path) -> Vec<PathBuf> {
    let gpu = gpu();
    cases.iter().map(|case| record(&gpu, case, directory)).collect()
}

fn gpu() -> Gpu {
    let limits = Limits::default();
    Gpu::from_env().and_then(|gpu| gpu.restrict_limits(&limits)).unwrap()
}

fn plays_all(player: &mut Command) {
    let cases = cases::chosen();
    let ran = run(player.args(recordings(&cases, &scratch("")))).good();
    assert_eq!(ran.out.matches(": 6 steps, ").count(), cases.len(), "{ran:?}");
    println!("{}", ran.out);
}

/// For players that are not called from here: all cases, and the adapter.
#[test]
#[ignore = "for cargo xtask matrix"]
fn steps_are_recorded() {
    let directory = env::var_os("FALLLINE_RECORDINGS").map(PathBuf::from);
    let directory = directory.expect("FALLLINE_RECORDINGS must be a folder: cargo xtask matrix");
    let cases: Vec<Case> = cases::chosen().into_iter().chain(cases::of_rules()).collect();
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    recordings(&cases, &directory);
    let adapter = gpu().adapter_info();
    let driver = format!("{} {}", adapter.driver, adapter.driver_info);
    let index = json!({ "adapter": adapter.name, "driver": driver, "cases": names });
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

#[test]
#[ignore = "needs Dawn for Node: cargo xtask player"]
fn a_plan_takes_the_engines_steps_in_another_webgpu() {
    plays_all(node().arg(here("files.mjs")).arg(repository("tools/player.mjs")));
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
