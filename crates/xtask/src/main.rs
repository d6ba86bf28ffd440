//! `cargo xtask demo`, `cargo xtask test` and `cargo xtask wasm`: each first sees to it that what it
//! needs is there, a GPU adapter or a standard library for wasm32.

mod wasm;

use std::{
    env,
    ffi::OsStr,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};

const USAGE: &str = "\
Usage: cargo xtask demo [OPTIONS]   set up, then `fallline train [OPTIONS]`
       cargo xtask test [OPTIONS]   set up, then every test: `cargo test --workspace [OPTIONS]`
       cargo xtask wasm             build the library for wasm32, and look for what blocks there

Set up: where no GPU adapter is found, Mesa's software Vulkan driver is installed through apt.
For wasm32, where its standard library is missing, it is installed through rustup or, as source
with Debian's rustc-web, through apt.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((task, rest)) if task == "demo" => demo(rest),
        Some((task, rest)) if task == "test" => test(rest),
        Some((task, [])) if task == "wasm" => wasm::wasm(),
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
            ExitCode::FAILURE
        }
    }
}

fn demo(options: &[String]) -> anyhow::Result<()> {
    say("building the demo (a few minutes the first time)");
    run(cargo().args(["build", "--release", "--package", "fallline-cli"]))?;
    ensure_adapter(&["--release"])?;
    say("training a small network on 1,797 handwritten digits");
    run(cargo()
        .args(["run", "--quiet", "--release", "--package", "fallline-cli", "--", "train"])
        .args(options))
}

fn test(options: &[String]) -> anyhow::Result<()> {
    say("building (a few minutes the first time)");
    run(cargo().args(["build", "--package", "fallline-cli"]))?;
    ensure_adapter(&[])?;
    say("running every test");
    run(cargo().args(["test", "--workspace"]).args(options))
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

/// Whether `fallline info` finds an adapter.
fn has_adapter(profile: &[&str]) -> anyhow::Result<bool> {
    let status = cargo()
        .args(["run", "--quiet", "--package", "fallline-cli"])
        .args(profile)
        .args(["--", "info"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    Ok(status.success())
}

/// The cargo that runs this. Mesa's device-select layer complains on the terminal of a machine
/// without a display; it is not needed here.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("NODEVICE_SELECT", "1");
    cargo
}

/// apt-get, through sudo where this user is not root.
fn apt() -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut apt = Command::new(if is_root { "apt-get" } else { "sudo" });
    if !is_root {
        apt.arg("apt-get");
    }
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn say(what: &str) {
    eprintln!("xtask: {what}");
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!("`{name} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}
