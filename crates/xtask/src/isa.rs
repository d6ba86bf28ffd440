//! `cargo xtask isa`: what shader compilers make of the kernels, on a machine without a GPU.
//!
//! A test of the engine, which knows every kernel, writes them into `target/isa/kernels`; the program `isa` has them
//! compiled, for one GPU after the other, and judges what came of it.

mod gpus;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, bail, ensure};

use crate::{WrongUsage, cargo, fetch, install, run, say, target_dir, text};
use gpus::{GPUS, Gpu, Programs, VENDORS};

/// Fake kernel drivers bear some hundreds of pipelines in a process.
const PIPELINES_PER_PROCESS: usize = 400;

/// The exit code of `compile` where a kernel took too long.
const TIMED_OUT: i32 = 124;

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    vendors: bool,
    all: bool,
    turns: bool,
    dxc: bool,
    dawn: bool,
    write: bool,
    words: Vec<String>,
}

pub(crate) fn isa(arguments: &[String]) -> anyhow::Result<()> {
    let options = options(arguments)?;
    say("building (a few minutes the first time)");
    run(cargo().args(["build", "--quiet", "--workspace", "--bin", "isa"]))?;
    let target = PathBuf::from(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    // What is linked, emulated or loaded from there must not depend on where that is done.
    let target = fs::canonicalize(target)?;
    let isa = Isa {
        programs: Programs {
            own: target.join("debug/isa"),
            drivers: target.join("isa/drivers"),
            arm64: target.join("aarch64-unknown-linux-gnu/debug/isa"),
        },
        kernels: target.join("isa/kernels"),
        all: options.all,
        turns: options.turns,
        words: options.words.clone(),
    };
    isa.write_kernels()?;
    if options.dxc {
        isa.dxc(&target)?;
    }
    if options.dawn {
        isa.dawn()?;
    }
    if options.dxc || options.dawn {
        return Ok(());
    }
    isa.spirv(options.vendors)?;
    if options.words.is_empty() {
        let mut languages = isa.command("languages");
        languages.arg(&isa.kernels);
        run(if options.write { languages.arg("--write") } else { &mut languages })?;
    }
    let gpus: &[Gpu] = if options.vendors { &VENDORS } else { &GPUS };
    if options.vendors {
        isa.prepare_vendors()?;
    }
    let mut judge = isa.command("judge");
    if options.write {
        judge.arg("--write");
    } else if !options.words.is_empty() {
        judge.arg("--list");
    }
    for (number, gpu) in gpus.iter().enumerate() {
        say(&format!("compiling for {}", gpu.name));
        let mut told = String::new();
        let compiler = || isa.in_turn(isa.programs.compiler(gpu), number, gpus.len());
        // Drivers print there too, PowerVR's without end where it fails.
        let printed = isa.in_parts(gpu.name, gpu.is_vendors() && !isa.all, compiler)?;
        for line in String::from_utf8_lossy(&printed).lines().filter(|line| line.starts_with('{')) {
            told.push_str(line);
            told.push('\n');
        }
        let file = target.join("isa").join(gpu.name).with_extension("jsonl");
        fs::write(&file, told)?;
        judge.arg(file);
    }
    run(&mut judge)
}

fn options(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "--vendors" => options.vendors = true,
            "--all" => options.all = true,
            "--turns" => options.turns = true,
            "--dxc" => options.dxc = true,
            "--dawn" => options.dawn = true,
            "--write" => options.write = true,
            other if other.starts_with('-') => {
                let known = "expected --vendors, --all, --turns, --dxc, --dawn, --write or words of a \
                             kernel's name";
                return Err(anyhow::anyhow!("{known}, found {other}").context(WrongUsage));
            }
            word => options.words.push(word.to_owned()),
        }
    }
    if options.write && (options.turns || !options.words.is_empty()) {
        return Err(anyhow::anyhow!("--write is for all kernels").context(WrongUsage));
    }
    Ok(options)
}

/// The program, with the kernels that it is for.
#[derive(Debug)]
struct Isa {
    programs: Programs,
    kernels: PathBuf,
    /// Of the other vendors' GPUs.
    all: bool,
    /// Each but the page's for one compiler of several.
    turns: bool,
    words: Vec<String>,
}

impl Isa {
    fn write_kernels(&self) -> anyhow::Result<()> {
        // Of a kernel that is no more nothing may stay.
        if self.kernels.exists() {
            fs::remove_dir_all(&self.kernels)?;
        }
        fs::create_dir_all(&self.kernels)?;
        let mut write = cargo();
        // Of the whole workspace: with one package's features alone, its dependencies would be built anew.
        write.args(["test", "--quiet", "--workspace", "--lib", "write_kernels", "--", "--ignored"]);
        write.env("KERNELS", fs::canonicalize(&self.kernels)?).stdout(Stdio::null());
        run(&mut write)
    }

    fn count(&self) -> anyhow::Result<usize> {
        let lines = fs::read_to_string(self.kernels.join("kernels.jsonl"))?;
        let name = |line: &str| {
            let (_, rest) = line.split_once("\"name\":\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let wants = |name: &String| {
            let has = |word: &String| name.split(' ').any(|of_name| of_name == word);
            self.words.iter().all(has)
        };
        let count = lines.lines().filter_map(name).filter(wants).count();
        ensure!(count > 0, "no kernel's name has all of these words: {}", self.words.join(" "));
        Ok(count)
    }

    fn command(&self, task: &str) -> Command {
        let mut command = Command::new(&self.programs.own);
        command.arg(task);
        command
    }

    /// A command that compiles for this one of so many, if they take turns.
    fn in_turn(&self, mut command: Command, number: usize, of: usize) -> Command {
        if self.turns {
            command.arg("--turn").arg(format!("{number}/{of}"));
        }
        command
    }

    /// What the other vendors' drivers need: themselves, the program for arm64, and SPIR-V for those that do not check
    /// the bounds of buffers.
    fn prepare_vendors(&self) -> anyhow::Result<()> {
        run(Command::new("tools/unpack_drivers.sh").arg(&self.programs.drivers))?;
        self.programs.build_for_arm64()?;
        self.in_parts("spirv", !self.all, || {
            let mut command = self.command("spirv");
            command.arg("--restrict");
            command
        })?;
        Ok(())
    }

    /// Runs a command of the program for all kernels, or those that the page lists, in parts, as many at a time as there are
    /// processors, and gives what it printed. Where a driver ends the process at a kernel, which is then told of as begun
    /// and no more, a new one goes on with the next.
    fn in_parts(
        &self,
        what: &str,
        listed: bool,
        command: impl Fn() -> Command + Sync,
    ) -> anyhow::Result<Vec<u8>> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let count = self.count()?;
        // An emulated process takes seconds to begin.
        let processes = if listed { 1 } else { count.div_ceil(PIPELINES_PER_PROCESS) };
        let parts = processes.next_multiple_of(workers);
        let part = |at: usize| {
            let mut printed = Vec::new();
            loop {
                let before = begun(&printed);
                let mut command = command();
                command.args(["--part", &format!("{at}/{parts}")]);
                if listed {
                    command.arg("--listed");
                }
                if before > 0 {
                    command.args(["--skip", &before.to_string()]);
                }
                command.arg(&self.kernels).args(&self.words);
                let log = self.kernels.with_file_name(format!("{what}.{at}.log"));
                let ran = command.env("RUST_BACKTRACE", "0").stderr(File::create(&log)?).output();
                let ran = ran.with_context(|| format!("cannot run `{}`", text(&command)))?;
                printed.extend(ran.stdout);
                if ran.status.success() {
                    fs::remove_file(log)?;
                    return Ok(printed);
                }
                let is_drivers = ran.status.code().is_none_or(|code| code == TIMED_OUT);
                if !is_drivers || begun(&printed) == before {
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    let printed = String::from_utf8_lossy(&printed);
                    bail!("{what}: {}\n{}\n{}", ran.status, said.trim(), last_line(&printed));
                }
            }
        };
        let mut printed = Vec::new();
        for first in (0..parts).step_by(workers) {
            let done: Vec<anyhow::Result<Vec<u8>>> = thread::scope(|scope| {
                let started: Vec<_> =
                    (first..first + workers).map(|at| scope.spawn(move || part(at))).collect();
                let joined = started.into_iter().map(|thread| thread.join());
                joined.map(|done| done.unwrap_or_else(|_| bail!("a thread panicked"))).collect()
            });
            for part in done {
                printed.extend(part?);
            }
        }
        Ok(printed)
    }

    /// SPIR-V of all kernels, or of those that other vendors' drivers compile, beside them, each given to spirv-val.
    fn spirv(&self, vendors: bool) -> anyhow::Result<()> {
        if !fetch::runs("spirv-val") {
            say("there is no spirv-val: installing it (apt-get install spirv-tools)");
            let without_apt =
                "there is no apt to install spirv-val with: install SPIRV-Tools and run this again";
            install(&["--no-install-recommends", "spirv-tools"], without_apt)?;
        }
        let spirv = || {
            let mut command = self.command("spirv");
            command.arg("--validate");
            command
        };
        let printed = self.in_parts("spirv", vendors && !self.all, spirv)?;
        say(&format!("spirv-val accepts {} kernels", sum(&printed)));
        Ok(())
    }

    /// Chromium's compiler, with WebGPU's validation.
    fn dawn(&self) -> anyhow::Result<()> {
        let dawn = fetch::dawn(&target_dir()?)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/isa/dawn.mjs");
        let node = || {
            let mut command = Command::new("node");
            command.arg(&script).arg(&dawn);
            command
        };
        let printed = self.in_parts("dawn", false, node)?;
        say(&format!("Dawn compiles all {} kernels", sum(&printed)));
        Ok(())
    }

    /// Microsoft's compiler for DX12, over all kernels, or as many as are compiled for one GPU when they take turns.
    fn dxc(&self, target: &Path) -> anyhow::Result<()> {
        let folder = target.join("isa/dxc");
        run(Command::new("tools/unpack_dxc.sh").arg(&folder))?;
        let library = folder.join("libdxcompiler.so");
        let dxc = || {
            let mut command = self.command("dxc");
            command.arg("--library").arg(&library);
            self.in_turn(command, 0, GPUS.len())
        };
        let printed = self.in_parts("dxc", false, dxc)?;
        say(&format!("DXC compiles {} kernels", sum(&printed)));
        Ok(())
    }
}

/// How many kernels `compile` has begun.
fn begun(printed: &[u8]) -> usize {
    let is_begun = |line: &&str| line.starts_with("{\"begun\":");
    String::from_utf8_lossy(printed).lines().filter(is_begun).count()
}

/// Of `DXC compiles 9 kernels`, which each part prints.
fn sum(printed: &[u8]) -> usize {
    let count = |line: &str| line.split(' ').nth(2)?.parse::<usize>().ok();
    String::from_utf8_lossy(printed).lines().filter_map(count).sum()
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_from_words() {
        let asked = |words: &[&str]| {
            options(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        let found = asked(&["adamw", "--vendors", "arena"]).expect("it is right");
        assert!(found.vendors && !found.dxc && !found.dawn && found.words == ["adamw", "arena"]);
        assert!(asked(&["--vendor"]).expect_err("no such option").is::<WrongUsage>());
        assert!(asked(&["--write", "adamw"]).expect_err("a part").is::<WrongUsage>());
        assert!(asked(&["--write", "--turns"]).expect_err("a part").is::<WrongUsage>());
    }
}
