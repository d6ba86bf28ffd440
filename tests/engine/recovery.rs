//! Failing and building again, round after round: each failure is a typed error, the run goes on from its save bit for
//! bit, and nothing is left behind.
//!
//! Failures of the driver are made by a layer of Vulkan's, `tests/faults/layer.c`, in a process of its own.

use std::{
    env,
    ffi::OsString,
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use fallline::{
    AdamW, ComputeKernel, Error, Gpu, Group, Optimizer, OutOfRange, Result, Rule, Saved, Slot,
    Source, StateFormat, Step, TensorId, TensorSpec, wgpu,
};

use crate::{
    common::{Rng, submit},
    faults_layer::under_layer,
};

const ROUNDS: u64 = 50;
const LENGTHS: [usize; 2] = [5000, 300];

fn build(gpu: &Gpu) -> Result<Optimizer> {
    let groups = [
        Group::new("codes", AdamW::new().lr(1e-2)).state(StateFormat::Int8),
        Group::new("whole", AdamW::new().lr(1e-3)),
    ];
    let [first, second] = LENGTHS;
    let specs = [TensorSpec::new("t0", [first]), TensorSpec::new("t1", [second]).in_group("whole")];
    Optimizer::arena(gpu, &groups, &specs)
}

fn begun(gpu: &Gpu) -> Optimizer {
    let optimizer = build(gpu).unwrap();
    let mut rng = Rng(7);
    for (index, len) in LENGTHS.into_iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &rng.values(len, 1.0)).unwrap();
    }
    optimizer
}

fn step(optimizer: &mut Optimizer, number: u64) -> Result<()> {
    let mut rng = Rng(number);
    for (index, len) in LENGTHS.into_iter().enumerate() {
        optimizer.write_grad(TensorId::new(index), &rng.values(len, 1.0))?;
    }
    optimizer.step(&Step::new())
}

fn saved(optimizer: &Optimizer) -> Saved {
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    saved
}

/// A rule whose WGSL is none.
#[derive(Debug)]
struct Broken;

impl Rule for Broken {
    fn source(&self) -> Source {
        Source { path: "broken", text: "fn scalars(" }
    }
    fn lr(&self) -> f64 {
        1.0
    }
    fn check(&self) -> std::result::Result<(), OutOfRange> {
        Ok(())
    }
    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        Vec::new()
    }
    fn hyper(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// What fails, and by whose call.
struct Failure {
    what: &'static str,
    /// The call of the driver's that fails, for the layer.
    call: &'static str,
    fail: fn(&Gpu, &mut Optimizer) -> Result<()>,
    is_told: fn(&Error) -> bool,
}

fn builds(gpu: &Gpu, _: &mut Optimizer) -> Result<()> {
    build(gpu).map(|_| ())
}

/// Until it is done.
fn steps(gpu: &Gpu, optimizer: &mut Optimizer) -> Result<()> {
    step(optimizer, 0)?;
    gpu.wait()
}

fn is_memory(error: &Error) -> bool {
    matches!(error, Error::OutOfMemory { .. })
}

fn is_lost(error: &Error) -> bool {
    matches!(error, Error::DeviceLost)
}

const FAILURES: [Failure; 10] = [
    Failure {
        what: "no memory for the first buffer",
        call: "vkCreateBuffer:1:-2",
        fail: builds,
        is_told: is_memory,
    },
    Failure {
        what: "no memory behind it",
        call: "vkBindBufferMemory:5:-1",
        fail: builds,
        is_told: is_memory,
    },
    Failure {
        what: "no memory for a bind group",
        call: "vkAllocateDescriptorSets:1:-2",
        fail: builds,
        is_told: is_memory,
    },
    Failure {
        what: "no memory for a step's input",
        call: "vkCreateBuffer:1:-2",
        fail: steps,
        is_told: is_memory,
    },
    Failure {
        what: "no memory to begin recording, at which wgpu panics",
        call: "vkBeginCommandBuffer:1:-2",
        fail: steps,
        is_told: is_memory,
    },
    Failure {
        what: "no memory to submit a step",
        call: "vkQueueSubmit:1:-2",
        fail: steps,
        is_told: is_memory,
    },
    Failure {
        what: "a driver that loses the device in a step",
        call: "vkQueueSubmit:1:-4",
        fail: steps,
        is_told: is_lost,
    },
    Failure {
        what: "a rule that does not compile",
        call: "",
        fail: |gpu, _| {
            let groups = [Group::new("all", Broken)];
            Optimizer::arena(gpu, &groups, &[TensorSpec::new("t", [3])]).map(|_| ())
        },
        is_told: |error| matches!(error, Error::Rule(_)),
    },
    Failure {
        what: "a kernel that does not compile",
        call: "",
        fail: |gpu, _| ComputeKernel::new(gpu, "broken", "fn main() {", &[], &[]).map(|_| ()),
        is_told: |error| matches!(error, Error::Gpu { what, .. } if what == "broken"),
    },
    Failure {
        what: "a device that is destroyed in a step",
        call: "",
        fail: |gpu, optimizer| {
            let mut recorded = Ok(());
            submit(gpu, |encoder| {
                recorded = optimizer.encode_step(encoder, &Step::new());
                gpu.device().destroy();
            });
            recorded?;
            gpu.wait()
        },
        is_told: is_lost,
    },
];

/// What is alive of each kind of wgpu's objects.
fn alive(instance: &wgpu::Instance) -> [usize; 12] {
    let hub = instance.generate_report().expect("wgpu's own implementation").hub;
    [
        hub.devices,
        hub.queues,
        hub.pipeline_layouts,
        hub.shader_modules,
        hub.bind_group_layouts,
        hub.bind_groups,
        hub.command_encoders,
        hub.command_buffers,
        hub.compute_pipelines,
        hub.query_sets,
        hub.buffers,
        hub.compute_passes,
    ]
    .map(|registry| registry.num_kept_from_user)
}

/// The same once it is this: a thread that waits for the GPU keeps its device until it ends.
fn alive_soon(instance: &wgpu::Instance, expected: [usize; 12]) -> [usize; 12] {
    let begun = Instant::now();
    loop {
        let found = alive(instance);
        if found == expected || begun.elapsed() > Duration::from_secs(10) {
            return found;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// MiB of this process that are in memory.
fn resident_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("how much");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

#[test]
#[ignore = "`rounds_of_failures_leave_nothing_behind` runs it, under the layer"]
fn rounds() {
    // Whoever runs all that is ignored has no layer.
    let Some(wish) = env::var_os("FAULTS_FAIL") else { return };
    let wish = wish.into_string().expect("a path");
    let wish = wish.strip_prefix('@').expect("of a file");

    let backends = wgpu::Backends::VULKAN;
    let descriptor = wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.enumerate_adapters(backends)).remove(0);
    let open = || {
        let (device, queue) = pollster::block_on(adapter.request_device(&<_>::default())).unwrap();
        Gpu::from_device(device, queue).unwrap()
    };

    let expected = {
        let mut whole = begun(&open());
        (0..ROUNDS).for_each(|number| step(&mut whole, number).unwrap());
        saved(&whole)
    };
    let mut kept = saved(&begun(&open()));
    let none = [0; 12];
    assert_eq!(alive_soon(&instance, none), none, "left behind at the beginning");
    let (mut resident, mut went_on) = (Vec::new(), 0);
    for (number, failure) in (0..ROUNDS).zip(FAILURES.iter().cycle()) {
        let Failure { what, call, fail, is_told } = failure;
        let mut gpu = open();
        let mut optimizer = build(&gpu).unwrap();
        optimizer.load(&mut kept).unwrap();
        if !call.is_empty() {
            fs::write(wish, call).unwrap();
        }
        let failed = fail(&gpu, &mut optimizer);
        assert!(fs::metadata(wish).is_err(), "{what}: never called");
        assert!(failed.as_ref().is_err_and(is_told), "{what}: {failed:?}");
        drop(optimizer);
        // wgpu gives a device up where memory runs out for anything but a buffer.
        match gpu.check_lost() {
            Ok(()) => went_on += 1,
            Err(_) => gpu = open(),
        }
        let mut optimizer = build(&gpu).unwrap_or_else(|error| panic!("after {what}: {error}"));
        optimizer.load(&mut kept).unwrap();
        step(&mut optimizer, number).unwrap();
        kept = saved(&optimizer);
        drop((optimizer, gpu));
        assert_eq!(alive_soon(&instance, none), none, "left behind by {what}");
        resident.push(resident_mib());
    }
    assert!(expected == kept, "the run went another way");
    assert!((1..ROUNDS).contains(&went_on), "{went_on} rounds went on on the same device");
    // What is compiled and allocated once is there after a round of each.
    let (first, last) = (resident[FAILURES.len()], resident[resident.len() - 1]);
    assert!(last < first + 8.0, "MiB after each round: {resident:?}");
    println!("{first} MiB after a round of each, {last} MiB in the end");
}

#[test]
fn rounds_of_failures_leave_nothing_behind() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let wish = folder.join("recovery.wish");
    let _ = fs::remove_file(&wish);
    let mut again = Command::new(env::current_exe().expect("this program"));
    again.args(["recovery::rounds", "--exact", "--ignored", "--nocapture"]);
    let at_wish: OsString = [OsString::from("@"), wish.into()].into_iter().collect();
    let ran = under_layer(again.env("FAULTS_FAIL", at_wish)).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success() && out.contains("1 passed"), "{out}\n{err}");
}
