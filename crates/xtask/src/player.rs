//! `cargo xtask player`: whether plans of `fallline export` take the engine's steps in another WebGPU, Dawn.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{apt, cargo, ensure_adapter, install, run, say, target_dir};

/// Dawn for Node, an npm package, and its version.
const DAWN: (&str, &str) = ("webgpu", "0.6.2");

/// Where SwiftShader lies in Debian's chromium-common, as a Vulkan driver.
const SWIFTSHADER: &str = "usr/lib/chromium/vk_swiftshader_icd.json";

pub(crate) fn player() -> anyhow::Result<()> {
    let target = target_dir()?;
    // With one comes the loader of Vulkan drivers.
    ensure_adapter(&[])?;
    let (dawn, driver) = (dawn(&target.join("player"))?, driver(&target.join("drivers"))?);
    say("playing plans in Dawn, on the driver that the engine runs on");
    let mut test = cargo();
    test.args([
        "test",
        "--workspace",
        "--test",
        "cli",
        "player::",
        "--",
        "--ignored",
        "--nocapture",
    ]);
    // Bits are those of a driver: both sides get the same.
    test.env("FALLLINE_DAWN", dawn).env("VK_DRIVER_FILES", driver).env("WGPU_BACKEND", "vulkan");
    run(&mut test)
}

/// The module of Dawn for Node, which is fetched into this directory if it is not there.
fn dawn(directory: &Path) -> anyhow::Result<PathBuf> {
    if !["node", "npm"].into_iter().all(runs) {
        say("there is no Node.js: installing it (apt-get install nodejs npm)");
        let without_apt = "there is no apt to install Node.js with: install it and run this again";
        install(&["--no-install-recommends", "nodejs", "npm"], without_apt)?;
    }
    let (name, version) = DAWN;
    let package = directory.join("node_modules").join(name);
    let known = fs::read_to_string(package.join("package.json")).unwrap_or_default();
    if !known.contains(&format!("\"version\": \"{version}\"")) {
        say("fetching Dawn for Node, 130 MB (npm install webgpu)");
        fs::create_dir_all(directory)?;
        let quiet =
            ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        let mut npm = Command::new("npm");
        npm.arg("install").args(quiet).arg("--prefix").arg(directory);
        run(npm.arg(format!("{name}@{version}")))?;
    }
    Ok(package.join("index.js"))
}

/// The driver that `VK_DRIVER_FILES` names; or SwiftShader, unpacked into this directory if no Chromium is installed.
/// (Dawn takes no lavapipe before Mesa 23.)
fn driver(directory: &Path) -> anyhow::Result<OsString> {
    if let Some(named) = env::var_os("VK_DRIVER_FILES") {
        return Ok(named);
    }
    let unpacked = directory.join(SWIFTSHADER);
    let known = [Path::new("/").join(SWIFTSHADER), unpacked.clone()];
    if let Some(known) = known.into_iter().find(|file| file.exists()) {
        return Ok(known.into());
    }
    if !runs("apt-get") {
        bail!("there is no apt to fetch SwiftShader with: name a Vulkan driver in VK_DRIVER_FILES");
    }
    say("unpacking SwiftShader from chromium-common");
    fs::create_dir_all(directory)?;
    run(apt().args(["update", "--quiet=2"]))?;
    let mut download = Command::new("apt-get");
    run(download.args(["download", "--quiet=2", "chromium-common"]).current_dir(directory))?;
    let archive = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut archive = archive.filter(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let archive = archive.next().context("apt-get has downloaded nothing")?;
    run(Command::new("dpkg").arg("-x").arg(archive).arg(directory))?;
    Ok(unpacked.into())
}

fn runs(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}
