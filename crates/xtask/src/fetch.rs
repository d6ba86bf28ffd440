//! What checks need beside this machine's own: packages of npm and of Debian, unpacked below the target directory and not
//! installed.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::{apt, install, run, say};

/// The package of Debian's that has Khronos's validation layer, and where its manifest lies there.
const LAYER: (&str, &str) = (
    "vulkan-validationlayers",
    "usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json",
);

/// The package of Debian's that has the loader of Vulkan drivers, where that lies there, and its licence.
const LOADER: (&str, &str) = ("libvulkan1", "usr/lib/x86_64-linux-gnu/libvulkan.so.1");
const LOADER_LICENCE: &str = "usr/share/doc/libvulkan1/copyright";

/// Dawn for Node, with Tint and Vulkan: of npm.
pub(crate) const DAWN: (&str, &str) = ("webgpu", "0.6.2");

/// Deno, with wgpu: of npm, where the program itself is a package of its own.
pub(crate) const DENO: (&str, &str) = ("deno", "2.9.6");

/// The package of Debian's that reads JSON in C++, and its header.
const JSON: (&str, &str) = ("nlohmann-json3-dev", "usr/include/nlohmann/json.hpp");

/// The package of Debian's that has SwiftShader, and where it lies there as a Vulkan driver.
const SWIFTSHADER: (&str, &str) = ("chromium-common", "usr/lib/chromium/vk_swiftshader_icd.json");

/// The module of Dawn for Node.
pub(crate) fn dawn(target: &Path) -> anyhow::Result<PathBuf> {
    if !runs("node") {
        install_node()?;
    }
    Ok(npm(&target.join("player"), DAWN)?.join("index.js"))
}

/// The program Deno.
pub(crate) fn deno(target: &Path) -> anyhow::Result<PathBuf> {
    let packages = npm(&target.join("deno"), DENO)?.with_file_name("@deno");
    let found = fs::read_dir(&packages).into_iter().flatten().flatten();
    let program = found.map(|package| package.path().join("deno")).find(|path| path.exists());
    program.with_context(|| format!("npm's deno has no program in {}", packages.display()))
}

/// The folder of wgpu-native: WebGPU for C++.
pub(crate) fn wgpu_native(target: &Path) -> anyhow::Result<PathBuf> {
    if !runs("g++") {
        say("there is no g++: installing it (apt-get install g++)");
        let without_apt = "there is no apt to install g++ with: install it and run this again";
        install(&["--no-install-recommends", "g++"], without_apt)?;
    }
    let folder = target.join("player/wgpu-native");
    run(Command::new("tools/unpack_wgpu_native.sh").arg(&folder))?;
    Ok(folder)
}

/// The folder of the header that `tools/player.hpp` reads JSON with.
pub(crate) fn json(target: &Path) -> anyhow::Result<PathBuf> {
    let headers = target.join("player/json");
    debian(&headers, JSON)?;
    Ok(headers.join("usr/include"))
}

/// The driver that `VK_DRIVER_FILES` names, or SwiftShader. (Dawn takes no lavapipe before Mesa 23.)
pub(crate) fn driver(target: &Path) -> anyhow::Result<OsString> {
    match env::var_os("VK_DRIVER_FILES") {
        Some(named) => Ok(named),
        None => Ok(swiftshader(target)?.into()),
    }
}

/// SwiftShader as a Vulkan driver: that of an installed Chromium, or of one that is unpacked.
pub(crate) fn swiftshader(target: &Path) -> anyhow::Result<PathBuf> {
    let installed = Path::new("/").join(SWIFTSHADER.1);
    if installed.exists() { Ok(installed) } else { debian(&target.join("drivers"), SWIFTSHADER) }
}

/// The manifest of Khronos's validation layer, unpacked into this directory, and the folder of its library.
pub(crate) fn validation_layer(directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let manifest = debian(directory, LAYER)?;
    Ok((manifest, directory.join("usr/lib/x86_64-linux-gnu")))
}

/// The loader of Vulkan drivers and its licence: this system's, or unpacked into this directory.
pub(crate) fn vulkan_loader(directory: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let root = Path::new("/");
    let is_installed = [LOADER.1, LOADER_LICENCE].iter().all(|file| root.join(file).exists());
    let loader = if is_installed { root.join(LOADER.1) } else { debian(directory, LOADER)? };
    let licence = if is_installed { root } else { directory }.join(LOADER_LICENCE);
    Ok((loader, licence))
}

/// A package of npm's in this version, which has a directory to itself: npm removes there what it was not asked for.
fn npm(directory: &Path, (name, version): (&str, &str)) -> anyhow::Result<PathBuf> {
    let package = directory.join("node_modules").join(name);
    let known = fs::read_to_string(package.join("package.json")).unwrap_or_default();
    if known.contains(&format!("\"version\": \"{version}\"")) {
        return Ok(package);
    }
    if !runs("npm") {
        install_node()?;
    }
    say(&format!("fetching {name} {version}, some 100 MB (npm install {name})"));
    fs::create_dir_all(directory)?;
    let quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    let mut npm = Command::new("npm");
    npm.arg("install").args(quiet).arg("--prefix").arg(directory);
    run(npm.arg(format!("{name}@{version}")))?;
    Ok(package)
}

fn install_node() -> anyhow::Result<()> {
    say("there is no Node.js: installing it (apt-get install nodejs npm)");
    let without_apt = "there is no apt to install Node.js with: install it and run this again";
    install(&["--no-install-recommends", "nodejs", "npm"], without_apt)
}

/// A file of a package of Debian's, unpacked into this directory.
fn debian(directory: &Path, (package, file): (&str, &str)) -> anyhow::Result<PathBuf> {
    let unpacked = directory.join(file);
    if unpacked.exists() {
        return Ok(unpacked);
    }
    if !runs("apt-get") {
        bail!("there is no apt to fetch {package} with");
    }
    say(&format!("unpacking {package}"));
    fs::create_dir_all(directory)?;
    run(apt().args(["update", "--quiet=2"]))?;
    let mut download = Command::new("apt-get");
    run(download.args(["download", "--quiet=2", package]).current_dir(directory))?;
    let is_archive = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
    };
    let archive = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).find(is_archive);
    let archive = archive.context("apt-get has downloaded nothing")?;
    run(Command::new("dpkg").arg("-x").arg(&archive).arg(directory))?;
    fs::remove_file(archive)?;
    ensure!(unpacked.exists(), "{package} has no {file} any more");
    Ok(unpacked)
}

/// Whether there is such a program.
pub(crate) fn runs(program: &str) -> bool {
    let mut version = Command::new(program);
    let version = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}
