//! How much memory of the host a save needs.

use std::{fs, time::Instant};

use fallline::{AdamW, Group, StateFormat, Step, TensorSpec};
use fallline_checkpoint::Checkpoint;

use crate::common::{gpu, optimizer, scratch};

/// This process's number of this name, in bytes.
fn bytes_of(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with(name)).expect("it is told");
    let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kib.expect("a number") * 1024
}

/// What the resident memory grew by at most while something ran.
fn growth(run: impl FnOnce()) -> u64 {
    let before = bytes_of("VmRSS:");
    // The largest size so far is the present one from here on.
    fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process do so");
    run();
    bytes_of("VmHWM:").saturating_sub(before)
}

/// A software device keeps its buffers in the host's memory, where they are before: what grows is what a save needs.
fn check(format: StateFormat, tensors: usize, elems: usize) {
    let group = Group::new("all", AdamW::new()).state(format);
    let specs: Vec<TensorSpec> =
        (0..tensors).map(|number| TensorSpec::new(format!("w{number}"), [elems])).collect();
    let mut optimizer = optimizer(&gpu(), &group, &specs, 0);
    let values = crate::common::values(1, elems);
    for number in 0..tensors {
        let id = fallline::TensorId::new(number);
        optimizer.write_param(id, &values).unwrap();
        optimizer.write_grad(id, &values).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
    optimizer.gpu().wait().unwrap();
    drop(values);

    let (_folder, path) = scratch();
    let began = Instant::now();
    let saving = growth(|| Checkpoint::save(&path, &optimizer, 1, &()).unwrap());
    let saved = began.elapsed().as_secs_f64();
    let size = fs::metadata(&path).unwrap().len();
    let began = Instant::now();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let loading = growth(|| checkpoint.load(&mut optimizer).unwrap());
    let loaded = began.elapsed().as_secs_f64();
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{format}: a file of {} MiB: saving took {} MiB and {saved:.1} s, loading {} MiB and {loaded:.1} s",
        mib(size),
        mib(saving),
        mib(loading),
    );
    assert!(size >= 2_000_000_000);
    assert!(saving <= 256 << 20 && loading <= 256 << 20);
}

#[test]
#[ignore = "5 GB of memory, and alone in its process"]
fn two_gigabytes_are_saved_through_a_few_megabytes() {
    check(StateFormat::F32, 5, 34_000_000);
}

#[test]
#[ignore = "5 GB of memory, and alone in its process"]
fn two_gigabytes_of_codes_are_saved_through_a_few_megabytes() {
    check(StateFormat::Int8, 10, 34_000_000);
}
