//! `cargo xtask demo`, `test`, `wasm`, `browser` and `player`: each first sees to it that what it needs is there,
//! a GPU adapter, a standard library for wasm32, a browser or another WebGPU. And `cargo xtask isa`, `matrix` and `bundle`.

mod browser;
mod bundle;
mod fetch;
mod isa;
mod matrix;
mod player;
mod validate;
mod wasm;

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context, anyhow, bail};

const USAGE: &str = "\
Usage: cargo xtask demo [OPTIONS]   set up, then `fallline train [OPTIONS]`, which draws train.svg
                                    unless --svg names another file
       cargo xtask test [OPTIONS]   set up, then every test: `cargo test --workspace [OPTIONS]`
       cargo xtask wasm             build the library for wasm32, and look for what blocks there
       cargo xtask browser          run everything that waits in a page of headless Chromium, and read
                                    the page of `fallline check` there
       cargo xtask player           play plans of `fallline export` in Dawn, with Node.js, and compare
                                    all buffers with the engine's; VK_DRIVER_FILES is the driver of
                                    both, else SwiftShader
       cargo xtask matrix [WORD...] run `fallline check` on every driver in software, and the engine's steps
                                    in every WebGPU, compare all buffers to the bit, and hold all that against
                                    docs/conformance.md: all rows, or those with these words (as `checks gl`,
                                    `steps firefox`); half an hour, on Debian 12
           --write                  write these rows of the page anew
           --quick, --all           of `fallline check`
       cargo xtask validate [OPTIONS]
                                    run the engine's tests under Khronos's validation layer for Vulkan:
                                    `cargo test --workspace --test engine [OPTIONS]`; whatever it says is a
                                    failure
       cargo xtask isa [WORD...]    have the kernels, or those whose names have these words (as `adamw
                                    arena`), validated as SPIR-V and compiled for AMD's GPUs, and look for
                                    what should not be and what is worse than in docs/compilers.md, or
                                    longer in another language than in docs/languages.md; no GPU is
                                    needed, but Mesa's RADV up to version 25
           --vendors                those of docs/compilers.md for other vendors' GPUs, with drivers of
                                    a newer Debian
           --all                    with --vendors all, which takes an hour
           --turns                  each kernel for one of the GPUs, a third with DXC, and those of
                                    docs/compilers.md for all
           --write                  write both pages anew
           --dxc                    translate all to HLSL, and compile that with Microsoft's compiler
           --dawn                   compile all in Dawn, Chromium's WebGPU, on its null backend
       cargo xtask bundle [-o FILE] make an archive for a machine with a GPU and nothing else, without Rust or a
                                    network: the binary, the tests with what they read, and a script that runs
                                    check, bench and tests, and writes a report
           --test                   try it in Debian's smallest system, with Mesa's software driver and without a
                                    network

Set up: where no GPU adapter is found, Mesa's software Vulkan driver is installed through apt.
For wasm32, where its standard library is missing, it is installed through rustup or, as source
with Debian's rustc-web, through apt; where there is no Chromium, Node.js or spirv-val, that too. Dawn and
SwiftShader are fetched into the target directory.

Exit status: 0 if all is well, 1 if something failed, 2 for wrong usage.";

/// The exit status for wrong usage: fallline's, and so ours.
const WRONG_USAGE: i32 = 2;

/// cargo's own, which ends with 101 where what it builds or runs fails.
const CARGO_WRONG_USAGE: i32 = 1;

/// Marks an error as a wrong usage.
#[derive(Debug)]
struct WrongUsage;

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrong usage")
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((task, rest)) if task == "demo" => demo(rest),
        Some((task, rest)) if task == "test" => test(rest),
        Some((task, [])) if task == "wasm" => wasm::wasm(),
        Some((task, [])) if task == "browser" => browser::browser(),
        Some((task, [])) if task == "player" => player::player(),
        Some((task, options)) if task == "validate" => validate::validate(options),
        Some((task, words)) if task == "isa" => isa::isa(words),
        Some((task, words)) if task == "matrix" => matrix::matrix(words),
        Some((task, options)) if task == "bundle" => bundle::bundle(options),
        Some((help, _)) if help == "help" || help == "--help" || help == "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            if error.is::<WrongUsage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn demo(options: &[String]) -> anyhow::Result<()> {
    say("building the demo (a few minutes the first time)");
    run(cargo().args(["build", "--release", "--package", "fallline-cli"]))?;
    ensure_adapter(&["--release"])?;
    say("training a small network on 1,797 handwritten digits");
    let train = ["run", "--quiet", "--release", "--package", "fallline-cli", "--", "train"];
    run_or(WRONG_USAGE, cargo().args(train).args(picture(options)).args(options))
}

/// Asks for the picture where the options do not.
fn picture(options: &[String]) -> &'static [&'static str] {
    let asks = |option: &String| option.starts_with("--svg") || option.starts_with("-o");
    if options.iter().any(asks) { &[] } else { &["--svg", "train.svg"] }
}

fn test(options: &[String]) -> anyhow::Result<()> {
    say("building (a few minutes the first time)");
    run(cargo().args(["build", "--package", "fallline-cli"]))?;
    ensure_adapter(&[])?;
    say("running every test");
    run_or(CARGO_WRONG_USAGE, cargo().args(["test", "--workspace"]).args(options))
}

/// Installs a software driver if no adapter is found.
fn ensure_adapter(profile: &[&str]) -> anyhow::Result<()> {
    if has_adapter(profile)? {
        return Ok(());
    }
    say("no GPU adapter was found: installing Mesa's software Vulkan driver \
         (apt-get install mesa-vulkan-drivers)");
    install(
        &["mesa-vulkan-drivers"],
        "there is no apt to install one with: install a Vulkan driver (Mesa's lavapipe is one in \
         software) and run this again",
    )?;
    if !has_adapter(profile)? {
        bail!("mesa-vulkan-drivers is installed, but there is still no GPU adapter");
    }
    Ok(())
}

/// Calls `apt-get install` with these options and packages, or says what to do without it.
fn install(arguments: &[&str], without_apt: &str) -> anyhow::Result<()> {
    if Command::new("apt-get").arg("--version").stdout(Stdio::null()).status().is_err() {
        bail!("{without_apt}");
    }
    run(apt().args(["update", "--quiet=2"]))?;
    run(apt().args(["install", "--quiet=2", "--yes"]).args(arguments))
}

/// Where cargo builds: the directory that has this program's profile in it.
fn target_dir() -> anyhow::Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    let target = program.ancestors().nth(2).map(Path::to_owned);
    target.with_context(|| format!("{} is not in a target directory", program.display()))
}

/// Whether `fallline info` finds an adapter.
fn has_adapter(profile: &[&str]) -> anyhow::Result<bool> {
    let ran = cargo()
        .args(["run", "--quiet", "--package", "fallline-cli"])
        .args(profile)
        .args(["--", "info"])
        .output()
        .context("cannot run cargo")?;
    match ran.status.code() {
        Some(0) => Ok(true),
        // A driver would not help.
        Some(WRONG_USAGE) => {
            let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
            Err(anyhow!(said).context(WrongUsage))
        }
        _ => Ok(false),
    }
}

/// The cargo that runs this. Mesa's device-select layer complains on the terminal of a machine
/// without a display; it is not needed here.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("NODEVICE_SELECT", "1");
    cargo
}

/// A program, through sudo where this user is not root.
fn as_root(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.arg(program);
    }
    command
}

fn apt() -> Command {
    let mut apt = as_root("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// Runs a command.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed ({status})", text(command));
    }
    Ok(())
}

/// Runs a command with a user's arguments, which ends with this status if they are wrong.
fn run_or(wrong_usage: i32, command: &mut Command) -> anyhow::Result<()> {
    let status = status(command)?;
    if status.success() {
        return Ok(());
    }
    let error = anyhow!("`{}` failed ({status})", text(command));
    Err(if status.code() == Some(wrong_usage) { error.context(WrongUsage) } else { error })
}

fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    command.status().with_context(|| format!("cannot run `{}`", text(command)))
}

/// A command as it would be typed.
fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]);
        sh
    }

    #[test]
    fn wrong_usage_is_told_from_failure() {
        for (status, is_wrong) in [(2, true), (1, false), (101, false)] {
            let error = run_or(2, &mut sh(&format!("exit {status}"))).expect_err("it fails");
            assert_eq!(error.is::<WrongUsage>(), is_wrong, "{error:#}");
        }
        assert!(run_or(2, &mut sh("exit 0")).is_ok() && run(&mut sh("exit 0")).is_ok());
        assert!(!run(&mut sh("exit 2")).expect_err("it fails").is::<WrongUsage>());
    }

    #[test]
    fn the_demo_draws_one_picture() {
        let asked = |options: &[&str]| {
            picture(&options.iter().map(|option| option.to_string()).collect::<Vec<_>>())
        };
        for options in [&[][..], &["--rule", "sgd"], &["--csv", "x"]] {
            assert_eq!(asked(options), ["--svg", "train.svg"], "{options:?}");
        }
        for options in [&["--svg", "x"][..], &["--svg=x"], &["-o", "x"], &["-ox"]] {
            assert_eq!(asked(options), [""; 0], "{options:?}");
        }
    }
}
