//! `cargo xtask isa`: what AMD's compiler makes of the kernels, on a machine without a GPU.
//!
//! A test of the engine, which knows every kernel, hands them to Mesa's RADV. That prints the code and the
//! statistics of each; here they are taken apart.

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader},
    process::Stdio,
};

use anyhow::{Context, bail};

use crate::{cargo, run, say};

const TEST: [&str; 4] = ["test", "--quiet", "--package=fallline", "--lib"];

/// The words of kernels that must ask for all their data before they wait for any. (Of rules that keep more, a
/// compiler may load some later to need fewer registers.)
const INDEPENDENT: [&str; 4] = ["adamw", "f32-f32-nearest-f32", "arena", "amsgrad:0"];

/// What the compiler said of a kernel.
#[derive(Debug, Default)]
struct Kernel {
    name: String,
    statistics: HashMap<String, u64>,
    /// In the order of issue: loads and stores with their bits, waits for loads, barriers.
    events: Vec<String>,
}

pub(crate) fn isa(words: &[String]) -> anyhow::Result<()> {
    say("building the engine's tests (a few minutes the first time)");
    run(cargo().args(TEST).arg("--no-run"))?;
    let gpu = env::var("RADV_FORCE_FAMILY").unwrap_or_else(|_| "navi21".to_owned());
    let mut child = cargo()
        .args(TEST)
        .args(["compile_for_amd", "--", "--ignored", "--nocapture"])
        .env("KERNELS", words.join(" "))
        .env("RADV_FORCE_FAMILY", &gpu)
        .env("RADV_DEBUG", "shaders,shaderstats,nocache")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let printed = child.stderr.take().context("cargo's stderr is not piped")?;
    let (kernels, other) = read(BufReader::new(printed))?;
    if !child.wait()?.success() {
        bail!(
            "{}\nRADV is in Debian's mesa-vulkan-drivers; it pretends to be a GPU up to Mesa 25",
            other.join("\n").trim()
        );
    }
    if kernels.is_empty() {
        bail!("no kernel's name has all of these words: {}", words.join(" "));
    }
    println!(
        "{gpu}: registers, waves a SIMD, instructions, kernel, accesses in the order of issue"
    );
    for kernel in &kernels {
        println!("{kernel}");
    }
    let faults: Vec<String> = kernels.iter().filter_map(Kernel::fault).collect();
    if !faults.is_empty() {
        bail!("{} of {} kernels:\n{}", faults.len(), kernels.len(), faults.join("\n"));
    }
    say(&format!("{} kernels, and nothing is wrong with them", kernels.len()));
    Ok(())
}

/// The kernels in what RADV printed, and the lines that are about none.
fn read(printed: impl BufRead) -> anyhow::Result<(Vec<Kernel>, Vec<String>)> {
    let (mut kernels, mut other) = (Vec::<Kernel>::new(), Vec::new());
    let (mut is_code, mut has_panicked) = (false, false);
    for line in printed.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        has_panicked |= line.contains(" panicked at ");
        if let Some(name) = line.strip_prefix("kernel: ") {
            kernels.push(Kernel { name: name.to_owned(), ..Kernel::default() });
            continue;
        }
        let Some(kernel) = kernels.last_mut().filter(|_| !has_panicked) else {
            other.push(line);
            continue;
        };
        match line.as_str() {
            "disasm:" => is_code = true,
            "*** SHADER STATS ***" => is_code = false,
            _ if is_code => kernel.events.extend(event(&line)),
            _ => {
                if let Some((what, Ok(value))) = line.split_once(": ").map(|(w, v)| (w, v.parse()))
                {
                    kernel.statistics.insert(what.to_owned(), value);
                }
            }
        }
    }
    Ok((kernels, other))
}

/// What an instruction does that takes its time.
fn event(instruction: &str) -> Option<String> {
    let operation = instruction.split_whitespace().next()?;
    if operation == "s_waitcnt" && instruction.contains("vmcnt") {
        return Some("wait".to_owned());
    }
    if operation == "s_barrier" {
        return Some("barrier".to_owned());
    }
    let (access, width) = operation.strip_prefix("buffer_")?.split_once('_')?;
    let access = match access {
        "load" => "ld",
        "store" => "st",
        _ => return None,
    };
    let bits = match width {
        "dword" | "b32" => "32",
        "dwordx2" | "b64" => "64",
        "dwordx3" | "b96" => "96",
        "dwordx4" | "b128" => "128",
        other => other,
    };
    Some(format!("{access}{bits}"))
}

impl Kernel {
    fn statistic(&self, name: &str) -> u64 {
        self.statistics.get(name).copied().unwrap_or_default()
    }

    fn fault(&self) -> Option<String> {
        let what = if self.statistic("Instructions") == 0 {
            "comes without statistics"
        } else if self.spills() {
            "spills registers"
        } else if self.waits_too_early() {
            "loads data behind a wait"
        } else {
            return None;
        };
        Some(format!("{} {what}", self.name))
    }

    fn spills(&self) -> bool {
        let spilled = ["Spilled SGPRs", "Spilled VGPRs", "Scratch size"];
        spilled.into_iter().any(|name| self.statistic(name) > 0)
    }

    /// Whether vec4s of data are loaded behind a wait, though no address of theirs depends on what was loaded.
    /// (What is stored was loaded, so the stores say how many there are: tensors' records are loaded as vec4s
    /// too.)
    fn waits_too_early(&self) -> bool {
        let has = |word: &str| self.name.split(' ').any(|of_name| of_name == word);
        let count = |events: &[String], what| events.iter().filter(|event| *event == what).count();
        let first_wait = self.events.iter().position(|event| event == "wait");
        let first = &self.events[..first_wait.unwrap_or(self.events.len())];
        // What comes after an update goes by the record: in most steps it is not loaded.
        let waits_for_record = ["lookahead:1", "averages:1"].into_iter().any(has);
        INDEPENDENT.into_iter().all(has)
            && !waits_for_record
            && count(first, "ld128") < count(&self.events, "st128")
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [registers, waves, instructions] =
            ["VGPRs", "Subgroups per SIMD", "Instructions"].map(|name| self.statistic(name));
        write!(f, "{registers:3} {waves:2} {instructions:4}  {}\n            ", self.name)?;
        for same in self.events.chunk_by(|a, b| a == b) {
            match same {
                [event] => write!(f, " {event}")?,
                _ => write!(f, " {}x{}", same[0], same.len())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
noise
kernel: adamw f32-f32-nearest-f32 arena amsgrad:0
\tbuffer_store_dwordx4 is no code yet
disasm:
BB0:
\ts_waitcnt lgkmcnt(0)
\tbuffer_load_dword v2, v2, s[8:11], 0 ; e0301000
\tbuffer_load_b128 v[4:7], v3, s[20:23], 0
\tbuffer_load_dwordx4 v[8:11], v3, s[20:23], 0 offset:512
\ts_waitcnt vmcnt(2)
\ts_barrier
\tbuffer_store_b128 v[8:11], v1, s[0:3], 0
\tbuffer_store_dwordx4 v[28:31], v1, s[0:3], 0

*** SHADER STATS ***
VGPRs: 56
Instructions: 300
Spilled VGPRs: 0
";

    fn only(printed: &str) -> Kernel {
        let (mut kernels, _) = read(printed.as_bytes()).expect("it is text");
        assert_eq!(kernels.len(), 1);
        kernels.remove(0)
    }

    #[test]
    fn what_radv_prints_is_taken_apart() {
        let kernel = only(PRINTED);
        assert_eq!(kernel.statistic("VGPRs"), 56);
        assert!(kernel.to_string().ends_with(" ld32 ld128x2 wait barrier st128x2"), "{kernel}");
        assert_eq!(kernel.fault(), None);
        let fault = only(&PRINTED.replace("Spilled VGPRs: 0", "Spilled VGPRs: 1")).fault();
        assert!(fault.is_some_and(|fault| fault.ends_with(" spills registers")));
    }

    #[test]
    fn a_load_behind_the_wait_is_found() {
        let waits = PRINTED.replace("\ts_barrier", "\ts_waitcnt vmcnt(0)").replacen(
            "\tbuffer_load_b128",
            "\ts_waitcnt vmcnt(0)\n\tbuffer_load_b128",
            1,
        );
        let fault = only(&waits).fault();
        assert!(fault.is_some_and(|fault| fault.ends_with(" loads data behind a wait")));
        assert_eq!(only(&waits.replace("arena", "borrowed")).fault(), None);
    }

    #[test]
    fn why_the_compiler_failed_is_kept() {
        let printed = format!("{PRINTED}thread 'x' panicked at y:\nno adapter\n");
        let (_, other) = read(printed.as_bytes()).expect("it is text");
        assert_eq!(other, ["noise", "thread 'x' panicked at y:", "no adapter"]);
    }
}
