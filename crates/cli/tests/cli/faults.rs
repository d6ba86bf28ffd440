//! Every kind of call into the driver fails once, in a run of each command: it ends with an error in words, never in a
//! panic, a signal or a wait without an end, and what it leaves behind is whole.
//!
//! A layer of Vulkan's counts the calls of an undisturbed run first (`tests/faults/layer.c`). Then, in a run for each,
//! the first call of each function fails, one in the middle, and the last, as Vulkan permits: for want of memory, or because
//! the device is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    common::{Ran, binary, golden, scratch},
    faults_layer::under_layer,
};

const OUT_OF_DEVICE_MEMORY: i32 = -2;
const DEVICE_LOST: i32 = -4;

/// A run takes a second or so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What wgpu makes of a failure, and nobody who calls it can help.
struct Known {
    function: &'static str,
    /// Among the calls of a run.
    call: Call,
    signal: i32,
    reason: &'static str,
}

/// Which of a function's calls fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    First,
    Middle,
    Last,
}

const KNOWN: [Known; 1] = [Known {
    function: "vkCreateSemaphore",
    call: Call::Last,
    signal: 11,
    reason: "wgpu-hal 30 keeps one semaphore in two places where it gets no other for its first submission, and \
             destroys it twice: `RelaySemaphores::advance` in wgpu-hal/src/vulkan/mod.rs",
}];

/// A function that may fail, and how often a run calls it.
struct Counted {
    function: String,
    count: u32,
    tells_of_loss: bool,
}

/// A command, and the files that it writes.
struct Subject {
    arguments: Vec<String>,
    folder: PathBuf,
}

impl Subject {
    /// With these options before those that name files.
    fn new(arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let folder = scratch("outputs");
        let mut arguments: Vec<String> = arguments.iter().map(|part| (*part).to_owned()).collect();
        for (option, file) in files {
            arguments.push((*option).to_owned());
            arguments.push(folder.join(file).to_str().expect("UTF-8").to_owned());
        }
        Self { arguments, folder }
    }

    /// Runs it, in an empty folder, with a setting of the layer's.
    fn run(&self, (name, value): (&str, &str)) -> Result<Ran, String> {
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder).expect("a folder");
        let mut command = Command::new(binary());
        under_layer(command.args(&self.arguments).env(name, value));
        // Who debugs hears of panics that become errors.
        command.env_remove("RUST_BACKTRACE").current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        ended(command.spawn().expect("the binary was built"))
    }

    fn counted(&self) -> Vec<Counted> {
        let counts = scratch("counts");
        self.run(("FAULTS_COUNTS", counts.to_str().expect("UTF-8"))).expect("it ends").good();
        let counted = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [function, count, kind] => Counted {
                function: function.to_owned(),
                count: count.parse().expect("a number"),
                tells_of_loss: kind == "loss",
            },
            _ => panic!("no count: {line}"),
        };
        let counts = fs::read_to_string(counts).expect("the layer is called");
        counts.lines().map(counted).collect()
    }

    /// Lets each kind of call fail.
    fn survives(&self) {
        let counted = self.counted();
        assert!(counted.len() > 20, "functions that may fail");
        let mut complaints = Vec::new();
        for Counted { function, count, tells_of_loss } in &counted {
            let mut calls = vec![(Call::Last, *count)];
            calls.extend((*count > 2).then_some((Call::Middle, count.div_ceil(2))));
            calls.extend((*count > 1).then_some((Call::First, 1)));
            let results = [Some(OUT_OF_DEVICE_MEMORY), tells_of_loss.then_some(DEVICE_LOST)];
            for result in results.into_iter().flatten() {
                for (call, number) in &calls {
                    let fault = format!("{function}:{number}:{result}");
                    let ran = self.run(("FAULTS_FAIL", &fault));
                    let known = KNOWN.iter().find(|k| k.function == function && k.call == *call);
                    let judged = match known {
                        None => ran.and_then(|ran| self.judge(&ran)),
                        Some(known) => known.judge(ran),
                    };
                    let told = |why| format!("{fault} of {count} calls: {why}");
                    complaints.extend(judged.err().map(told));
                }
            }
        }
        assert!(complaints.is_empty(), "{:?}:\n{}", self.arguments, complaints.join("\n"));
    }

    /// It is well, or says in a line what is not; what it wrote is whole.
    fn judge(&self, ran: &Ran) -> Result<(), String> {
        // (Where there is no display, drivers of others say so too.)
        let told = ran.err.lines().filter(|line| line.starts_with("fallline: ")).count();
        let ends_well = match ran.code {
            Some(0) => true,
            Some(1) => told == 1 && !ran.err.contains("panicked"),
            _ => false,
        };
        if !ends_well {
            return Err(format!("ended with {:?}: {}", ran.code, ran.err));
        }
        let broken = files(&self.folder).into_iter().find(|file| !is_whole(file));
        broken.map_or(Ok(()), |file| Err(format!("left {} behind", file.display())))
    }
}

impl Known {
    fn judge(&self, ran: Result<Ran, String>) -> Result<(), String> {
        match ran {
            Err(told) if told.contains(&format!("signal: {}", self.signal)) => Ok(()),
            other => Err(format!("does not happen any more ({other:?}): {}", self.reason)),
        }
    }
}

/// What it said, once it has ended by itself.
fn ended(mut child: Child) -> Result<Ran, String> {
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if begun.elapsed() > TIMEOUT => {
                child.kill().expect("it runs");
                child.wait().expect("it is killed");
                return Err("it waits and waits".to_owned());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.code().is_none() {
        return Err(format!("ended by {status}"));
    }
    Ok(child.wait_with_output().expect("it has ended").into())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether the file is one that the command writes, and all of it is there.
fn is_whole(file: &Path) -> bool {
    let bytes = fs::read(file).expect("a file");
    let text = || String::from_utf8_lossy(&bytes);
    let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    match file.extension().and_then(|end| end.to_str()) {
        Some("json") => is_json(&text()),
        Some("svg") => text().trim_end().ends_with("</svg>"),
        Some("csv") => text().ends_with('\n'),
        // It grows with the run.
        Some("jsonl") => text().lines().all(is_json),
        Some("safetensors") => safetensors::SafeTensors::deserialize(&bytes).is_ok(),
        _ => false,
    }
}

#[test]
fn train_survives_every_fault() {
    let run = ["train", "--epochs", "1", "--batch-size", "256", "--hidden", "8"];
    let more = ["--log-every", "2", "--checkpoint-every", "3"];
    let files = [
        ("--checkpoints", "saved"),
        ("--json", "run.json"),
        ("--csv", "run.csv"),
        ("--log", "run.jsonl"),
        ("-o", "run.svg"),
    ];
    Subject::new(&[&run[..], &more].concat(), &files).survives();
}

#[test]
fn replay_survives_every_fault() {
    let [trace, config] = ["adamw.safetensors", "adamw.toml"].map(golden);
    let [trace, config] = [&trace, &config].map(|path| path.to_str().expect("UTF-8"));
    let files = [("--json", "replay.json"), ("--out", "state.safetensors")];
    Subject::new(&["replay", trace, "--config", config], &files).survives();
}

#[test]
fn bench_survives_every_fault() {
    let run = ["bench", "--model", "resnet50", "--width", "0.02", "--steps", "1"];
    Subject::new(&[&run[..], &["--no-baselines"]].concat(), &[("--json", "bench.json")]).survives();
}
