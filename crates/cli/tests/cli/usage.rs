//! Help, wrong usage and a missing adapter: the same for each command.

use std::process::Command;

use crate::common::{binary, fallline, golden, run, unread};

const COMMANDS: [&str; 10] = [
    "info",
    "check",
    "train",
    "race",
    "replay",
    "schedule",
    "plot",
    "quantize",
    "dequantize",
    "bench",
];

#[test]
fn help_has_examples() {
    let top = fallline(&["--help"]).good();
    assert!(top.out.contains("\nExamples:\n  fallline info "), "{}", top.out);
    assert!(top.out.contains("\nExit status: 0 if all is well; 1 if "), "{}", top.out);
    for command in COMMANDS {
        assert!(top.out.contains(&format!("\n  {command} ")), "{command}: {}", top.out);
        let help = fallline(&[command, "--help"]).good();
        let example = format!("\nExamples:\n  fallline {command}");
        assert!(help.out.contains(&example), "{command}: {}", help.out);
        assert!(help.out.contains("--adapter <NAME>"), "{command}: {}", help.out);
    }
    // Both tell what a config may say.
    for command in ["train", "replay"] {
        let help = fallline(&[command, "--help"]).good();
        for table in ["[optimizer]", "[schedule]", "[weight_decay_schedule]", "[[group]]"] {
            assert!(help.out.contains(&format!("\n  {table}")), "{command}: {}", help.out);
        }
    }
}

#[test]
fn the_version_is_the_crates() {
    let ran = fallline(&["--version"]).good();
    assert_eq!(ran.out, concat!("fallline ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["frobnicate"][..], &[], &["--frobnicate"], &["info", "--backend", "cuda"]] {
        assert_eq!(fallline(arguments).code, Some(2), "{arguments:?}");
    }
    for command in COMMANDS {
        let ran = fallline(&[command, "--frobnicate"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.out.is_empty() && ran.err.contains("--frobnicate"), "{ran:?}");
    }
}

/// The arguments of a small replay.
fn replay() -> [&'static str; 4] {
    let path = |name| golden(name).to_str().expect("a path in UTF-8").to_owned().leak() as &str;
    ["replay", path("adamw.safetensors"), "--config", path("adamw.toml")]
}

/// The arguments that quantize a file.
fn quantize() -> [&'static str; 3] {
    [&["quantize"], &replay()[1..2], &["unwritten"]].concat().try_into().expect("three")
}

#[test]
fn an_adapter_that_is_not_there_is_one_line() {
    let (replay, quantize) = (replay(), quantize());
    for command in [&["info"][..], &["check"], &["train"], &["bench"], &replay, &quantize] {
        let arguments = [command, &["--adapter", "no such", "--backend", "vulkan"]].concat();
        fallline(&arguments)
            .says("no GPU adapter named 'no such' of backend vulkan found (adapters here: ");
    }
}

#[test]
fn a_backend_that_does_not_exist_is_named() {
    let (replay, quantize) = (replay(), quantize());
    for command in [&["info"][..], &["check"], &["train"], &["bench"], &replay, &quantize] {
        for (names, found) in [("vulkn", "vulkn"), ("vulkan,foo", "foo")] {
            let mut fallline = Command::new(binary());
            run(fallline.args(command).env("WGPU_BACKEND", names)).refuses(&format!(
                "WGPU_BACKEND names the backend '{found}', but the backends are vulkan, metal, dx12, gl"
            ));
        }
    }
}

/// Before any work: even before it turns out that there is no such adapter.
#[test]
fn a_path_that_cannot_be_written_is_found_first() {
    let (replay, quantize) = (replay(), quantize());
    for (command, option) in [
        (&["info"][..], "--json"),
        (&["check"], "--json"),
        (&["check"], "--html"),
        (&["train"], "--svg"),
        (&["train"], "--csv"),
        (&["train"], "--json"),
        (&["bench"], "--json"),
        (&replay, "--json"),
        (&replay, "--out"),
        (&quantize, "--json"),
    ] {
        let path = [option, "/no/such/folder/x", "--adapter", "no such adapter"];
        fallline(&[command, &path].concat()).says("cannot write /no/such/folder/x: ");
    }
    let twice = ["--json", "same", "--out", "same"];
    fallline(&[&replay[..], &twice].concat()).refuses("same is given for two outputs");
    for input in [replay[1], replay[3]] {
        let over = [&replay[..], &["--json", input]].concat();
        fallline(&over).refuses("is given for input and output");
    }
}

#[test]
fn nobody_has_to_read_the_result() {
    let (replay, quantize) = (replay(), quantize());
    let quantize = [&quantize[..2], &["unread"]].concat();
    let bench = ["bench", "--width", "0.01", "--steps", "1", "--no-baselines"];
    for command in [&["info"][..], &bench, &replay, &quantize] {
        unread(command).good();
    }
}
