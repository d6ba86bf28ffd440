//! `cargo xtask wasm`: whether the library builds for a browser, and needs nothing there that blocks.
//! And a compiler for that.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{cargo, install, run, say};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// What parks a thread until a future is ready: a page has no thread to park.
const BLOCKING: &str = "pollster";

/// Debian's compiler for building browsers, and the source of its standard library: the directories
/// where the packages put them.
const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const COMPILER: &str = "/usr/bin/rustc";
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

pub(crate) fn wasm() -> anyhow::Result<()> {
    let mut build = compiler()?;
    say("building the library for wasm32 (a few minutes the first time)");
    run(build.args(["build", "--package", "fallline", "--lib", "--target", TARGET]))?;
    check_tree()?;
    say("the library builds for wasm32, and nothing in it blocks");
    Ok(())
}

/// A cargo whose compiler has a standard library for the target, which is installed where it is
/// missing: through rustup or, where that is not to be had, as source through apt.
pub(crate) fn compiler() -> anyhow::Result<Command> {
    if has_target()? {
        return Ok(cargo());
    }
    say("there is no standard library for wasm32: installing it (rustup target add)");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) && has_target()? {
        return Ok(cargo());
    }
    if !Path::new(LIBRARY).exists() {
        say(
            "it is not to be had from rustup: installing a compiler with the library's source beside \
             yours, 140 MB (apt-get install rustc-web rust-web-src)",
        );
        // Where Debian's older rustc is installed, apt would remove it: it stops instead.
        let options = ["--no-install-recommends", "--no-remove"];
        install(
            &[&options[..], &PACKAGES[..]].concat(),
            "there is no apt to install one with: add the target wasm32-unknown-unknown to your \
             Rust toolchain and run this again",
        )?;
    }
    if !Path::new(LIBRARY).exists() {
        bail!("{} are installed, but {LIBRARY} is missing", PACKAGES.join(" and "));
    }
    debian()
}

/// Whether the compiler that cargo calls has a standard library for the target.
fn has_target() -> anyhow::Result<bool> {
    let found = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot run rustc")?;
    Ok(Path::new(String::from_utf8_lossy(&found.stdout).trim()).exists())
}

/// Cargo with Debian's compiler, which builds the standard library too: a stable cargo and compiler
/// do so if told that they are bootstrapped.
fn debian() -> anyhow::Result<Command> {
    let mut cargo = cargo();
    // What rustup sets for its own compiler is not for this one.
    cargo.env_remove("LD_LIBRARY_PATH").env("RUSTC", COMPILER).env("RUSTC_BOOTSTRAP", "1");
    // Also where nothing is linked: with another linker cargo would build everything again.
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker()?);
    cargo.arg("-Zbuild-std=std,panic_abort");
    Ok(cargo)
}

/// The linker for Debian's compiler, which comes without one: that of its LLVM.
fn linker() -> anyhow::Result<String> {
    let told = Command::new(COMPILER).arg("-vV").output().context("cannot run Debian's rustc")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let llvm = llvm_version(&told).context("rustc does not tell the version of its LLVM")?;
    let (package, linker) = (format!("lld-{llvm}"), format!("wasm-ld-{llvm}"));
    let has = || Command::new(&linker).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has() {
        say(&format!("its linker is missing: installing it (apt-get install {package})"));
        let without_apt = format!("there is no apt to install {package} with: install {linker}");
        install(&["--no-install-recommends", &package], &without_apt)?;
    }
    if !has() {
        bail!("{package} is installed, but {linker} is missing");
    }
    Ok(linker)
}

/// The first part of LLVM's version.
fn llvm_version(rustc: &str) -> Option<&str> {
    let version = rustc.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()
}

/// Fails if something that blocks is among what the library needs on the target.
fn check_tree() -> anyhow::Result<()> {
    let arguments = [
        "tree",
        "--package",
        "fallline",
        "--target",
        TARGET,
        "--edges",
        "normal",
        "--prefix",
        "none",
    ];
    let tree = cargo().args(arguments).output().context("cannot run cargo tree")?;
    if !tree.status.success() {
        bail!("`cargo {}`: {}", arguments.join(" "), String::from_utf8_lossy(&tree.stderr).trim());
    }
    let tree = String::from_utf8_lossy(&tree.stdout);
    if let Some(found) = tree.lines().find(|line| line.split(' ').next() == Some(BLOCKING)) {
        bail!(
            "on wasm32 the library needs {found}, which blocks (`cargo tree --package fallline \
             --target {TARGET} --edges normal --invert {BLOCKING}` says what for)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_of_llvm_is_found() {
        let rustc = "rustc 1.96.0 (abc 2026-05-25)\nhost: x\nLLVM version: 22.1.8\n";
        assert_eq!(super::llvm_version(rustc), Some("22"));
        assert_eq!(super::llvm_version("rustc 1.96.0"), None);
    }
}
