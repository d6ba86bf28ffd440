//! `cargo xtask bundle`: an archive for a machine with a GPU and nothing else.

mod chroot;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, anyhow, bail, ensure};

use crate::{WrongUsage, cargo, fetch, run, say, target_dir, text};

/// The script that runs it all there.
const SCRIPT: &str = include_str!("run.sh");

/// What this is; the machine and its glibc are filled in.
const README: &str = include_str!("README.txt");

/// The folder that the archive holds.
const FOLDER: &str = "fallline-bundle";

/// What can still be sent.
const MAX_SIZE_BYTES: u64 = 60_000_000;

/// Test binaries: what cargo calls the source and the program, the name in the bundle, the folder of the package.
const TESTS: [(&str, &str, &str, &str); 9] = [
    ("unittests crates/fallline/src/lib.rs", "fallline", "library", "."),
    ("tests/engine/main.rs", "engine", "engine", "."),
    ("tests/wgpu_log/main.rs", "wgpu_log", "wgpu_log", "."),
    ("unittests src/main.rs", "fallline", "binary", "crates/cli"),
    ("tests/cli/main.rs", "cli", "cli", "crates/cli"),
    ("unittests src/lib.rs", "fallline_checkpoint", "checkpoint-unit", "crates/checkpoint"),
    ("tests/checkpoint/main.rs", "checkpoint", "checkpoint", "crates/checkpoint"),
    ("unittests src/lib.rs", "fallline_reference", "reference-unit", "crates/reference"),
    ("tests/golden.rs", "golden", "golden", "crates/reference"),
];

/// What tests read of the repository.
const FILES: [&str; 3] = ["README.md", "examples/train.toml", "tests/golden"];

pub(crate) fn bundle(options: &[String]) -> anyhow::Result<()> {
    let target = target_dir()?;
    let mut archive = target.join("bundle").join(format!("{FOLDER}.tar.gz"));
    let mut test = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match (option.as_str(), options.as_slice()) {
            ("--test", _) => test = true,
            ("-o", [file, ..]) => {
                archive = file.into();
                options.next();
            }
            _ => {
                let error = anyhow!("expected -o FILE or --test, found {option}");
                return Err(error.context(WrongUsage));
            }
        }
    }
    let folder = target.join("bundle").join(FOLDER);
    fill(&folder, &target)?;
    pack(&folder, &archive)?;
    if test { chroot::test(&archive, &target.join("bundle")) } else { Ok(()) }
}

/// Builds everything into a new folder.
fn fill(folder: &Path, target: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for part in ["tests/deps", "files", "lib"] {
        make(&folder.join(part))?;
    }
    say("building the binary (a few minutes the first time)");
    run(cargo().args(["build", "--release", "--package", "fallline-cli"]))?;
    strip(&target.join("release/fallline"), &folder.join("fallline"))?;
    say("building the tests");
    let built = built(cargo().args(["test", "--workspace", "--no-run"]))?;
    for (source, program, name, package) in TESTS {
        let is_it = |built: &&(String, PathBuf)| built.0 == source && stem(&built.1) == program;
        let (_, path) = built
            .iter()
            .find(is_it)
            .with_context(|| format!("cargo has built no {program} of {source}"))?;
        strip(path, &folder.join("tests/deps").join(name))?;
        make(&folder.join("files").join(package))?;
    }
    for file in FILES {
        let copy = folder.join("files").join(file);
        make(copy.parent().context("it lies in a folder")?)?;
        run(Command::new("cp").arg("-R").arg(file).arg(copy))?;
    }
    let (loader, copyright) = fetch::vulkan_loader(&target.join("bundle/loader"))?;
    fs::copy(loader, folder.join("lib/libvulkan.so.1"))?;
    fs::copy(copyright, folder.join("lib/copyright"))?;
    let script = folder.join("run");
    fs::write(&script, SCRIPT)?;
    run(Command::new("chmod").arg("+x").arg(script))?;
    let programs = [folder.join("fallline"), folder.join("tests/deps/engine")];
    let readme = README.replace("@ARCH@", std::env::consts::ARCH);
    fs::write(folder.join("README.txt"), readme.replace("@GLIBC@", &glibc(&programs)?))?;
    Ok(())
}

/// One file of the folder, which is small enough.
fn pack(folder: &Path, archive: &Path) -> anyhow::Result<()> {
    if let Some(parent) = archive.parent() {
        make(parent)?;
    }
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf"]).arg(archive);
    run(tar.arg("-C").arg(folder.parent().context("it lies in a folder")?).arg(FOLDER))?;
    let size = fs::metadata(archive)?.len();
    let mb = size as f64 / 1e6;
    let name = archive.display();
    let most = MAX_SIZE_BYTES / 1_000_000;
    ensure!(size < MAX_SIZE_BYTES, "{name} must be smaller than {most} MB, found {mb:.1} MB");
    say(&format!("{name} has {mb:.1} MB; unpacked, ./run in it does the rest"));
    Ok(())
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Copies a program without its symbols.
fn strip(program: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("strip").arg("-o").arg(to).arg(program))
}

/// The name of a program without cargo's hash.
fn stem(program: &Path) -> &str {
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('-').map_or(name, |(stem, _)| stem)
}

/// Runs cargo, shows what it says, and gives what it has built: sources and programs.
fn built(cargo: &mut Command) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let spawned = cargo.stderr(Stdio::piped()).spawn();
    let mut process = spawned.with_context(|| format!("cannot run `{}`", text(cargo)))?;
    let mut built = Vec::new();
    for line in BufReader::new(process.stderr.take().context("it says nothing")?).lines() {
        let line = line?;
        eprintln!("{line}");
        built.extend(executable(&line));
    }
    let status = process.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})", text(cargo));
    }
    Ok(built)
}

/// `Executable tests/engine/main.rs (target/debug/deps/engine-0123)`.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let (source, program) = line.trim().strip_prefix("Executable ")?.split_once(" (")?;
    Some((source.to_owned(), program.strip_suffix(')')?.into()))
}

/// The newest version of glibc that any of these programs needs.
fn glibc(programs: &[PathBuf]) -> anyhow::Result<String> {
    let mut newest = (0, 0);
    for program in programs {
        let mut objdump = Command::new("objdump");
        let listed = objdump.arg("-T").arg(program).output().context("cannot run objdump")?;
        newest = newest.max(newest_glibc(&String::from_utf8_lossy(&listed.stdout)));
    }
    ensure!(newest.0 > 0, "objdump tells of no glibc that the programs need");
    Ok(format!("{}.{}", newest.0, newest.1))
}

fn newest_glibc(symbols: &str) -> (u32, u32) {
    let version = |word: &str| {
        let version = word.trim_matches(['(', ')']).strip_prefix("GLIBC_")?;
        let mut parts = version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    symbols.split_whitespace().filter_map(version).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_and_runs_every_test_binary_in_its_package() {
        let mut sh = Command::new("sh");
        run(sh.args(["-n", "-c", SCRIPT])).expect("a script");
        let (_, full) = SCRIPT.split_once("\nelse\n    step check").expect("the full run");
        for (_, _, name, package) in TESTS {
            let runs = |rest| full.contains(&format!("\n    tests {name} {package}{rest}"));
            assert!(runs("\n") || runs(" --skip "), "{name}");
        }
    }

    #[test]
    fn what_cargo_builds_is_found() {
        let line =
            "  Executable unittests src/main.rs (target/debug/deps/fallline-93c763c569a03535)";
        let (source, program) = executable(line).expect("a program");
        assert_eq!((source.as_str(), stem(&program)), ("unittests src/main.rs", "fallline"));
        let line = "  Executable tests/a/main.rs (/t (1)/debug/deps/wgpu_log-0)";
        let (source, program) = executable(line).expect("a program");
        assert_eq!((source.as_str(), stem(&program)), ("tests/a/main.rs", "wgpu_log"));
        assert!(executable("   Compiling fallline v0.1.0 (/a)").is_none());
    }

    #[test]
    fn the_newest_glibc_counts() {
        let symbols = "00 DF *UND* 0 (GLIBC_2.9) a\n00 DF *UND* 0 (GLIBC_2.34) b\n00 DO *UND* 0 GLIBC_2.2.5 c";
        assert_eq!(newest_glibc(symbols), (2, 34));
        assert_eq!(newest_glibc("(GLIBC_PRIVATE) (GCC_3.0)"), (0, 0));
    }
}
