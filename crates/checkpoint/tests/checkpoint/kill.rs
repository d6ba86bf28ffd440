//! A process that trains and saves is killed at any moment. What it saved last loads, and the run goes on to the bit.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fallline::{AdamW, Dtype, Gpu, Group, Optimizer, Precision, Saved, StateFormat, TensorSpec};
use fallline_checkpoint::Checkpoints;

use crate::common::{begin, differ, gpu, held, optimizer, run, values};

/// Where the process that is killed saves.
const FOLDER: &str = "FALLLINE_KILL_FOLDER";

/// Steps that a run may take.
const STEPS: u64 = 48;

/// Steps behind what was loaded that are compared.
const MORE: u64 = 2;

/// About 4 MB, codes and remainders among them.
fn build(gpu: &Gpu) -> Optimizer {
    let group = Group::new("all", AdamW::new().lr(1e-2)).state(StateFormat::Int8);
    let tensors = [
        TensorSpec::new("embedding", [1000, 600])
            .dtype(Dtype::Bf16)
            .precision(Precision::Remainder)
            .grad_dtype(Dtype::F32),
        TensorSpec::new("weight", [500, 301]),
        TensorSpec::new("bias", [301]),
    ];
    optimizer(gpu, &group, &tensors, 7)
}

fn checkpoints(folder: &Path) -> Checkpoints {
    Checkpoints::new(folder).keep(2)
}

/// The process that is killed. Started by hand it ends by itself.
#[test]
#[ignore = "the other tests start it"]
fn victim() {
    let given = env::var_os(FOLDER);
    let own = given.is_none().then(|| tempfile::tempdir().unwrap());
    let folder = given.as_deref().map(Path::new).or(own.as_ref().map(|folder| folder.path()));
    let checkpoints = checkpoints(folder.expect("one of both"));
    let mut optimizer = build(&gpu());
    let mut step = 0;
    match checkpoints.latest().unwrap() {
        Some(checkpoint) => {
            checkpoint.load(&mut optimizer).unwrap();
            step = checkpoint.step();
        }
        None => begin(&optimizer),
    }
    println!("\nat work");
    while step < STEPS {
        run(&mut optimizer, step..step + 1);
        step += 1;
        checkpoints.save(&optimizer, step, &step).unwrap();
    }
}

/// What an uninterrupted run holds after each step.
fn straight(gpu: &Gpu) -> Vec<Saved> {
    let mut optimizer = build(gpu);
    begin(&optimizer);
    let mut after = vec![held(&optimizer)];
    for step in 0..STEPS + MORE {
        run(&mut optimizer, step..step + 1);
        after.push(held(&optimizer));
    }
    after
}

/// Starts the process, and kills it so long after it has begun to work.
fn kill_after(folder: &Path, delay: Duration) {
    let mut command = Command::new(env::current_exe().expect("this test is a file"));
    command.args(["kill::victim", "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder);
    let mut victim = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let stdout = victim.stdout.take().expect("it is piped");
    let at_work = BufReader::new(stdout).lines().map_while(Result::ok).any(|l| l == "at work");
    assert!(at_work, "it ended before it worked");
    thread::sleep(delay);
    // SIGKILL, which nothing can catch; it may have come to its end before.
    let _ = victim.kill();
    let ended = victim.wait().expect("it ends");
    assert!(ended.code().is_none_or(|code| code == 0), "{ended}: it failed by itself");
}

/// How many of so many kills hit a save.
fn survives(kills: u32) -> u32 {
    let gpu = gpu();
    let expected = straight(&gpu);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(folder.path());
    let mut resumed = build(&gpu);
    let (mut hit, mut last) = (0, 0);
    for kill in 0..kills {
        let delay = 150.0 * values(kill.into(), 1)[0].abs();
        kill_after(folder.path(), Duration::from_secs_f32(delay / 1000.0));
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        hit += u32::from(names.into_iter().any(|name| name.to_string_lossy().ends_with(".part")));

        let Some(checkpoint) = checkpoints.latest().unwrap() else { continue };
        let step = checkpoint.step();
        assert!(step >= last, "kill {kill}: step {step} is there, and step {last} was");
        assert_eq!(checkpoint.extra::<u64>().unwrap(), step);
        checkpoint.load(&mut resumed).unwrap();
        let at = |step: u64| &expected[usize::try_from(step).unwrap()];
        assert_eq!(differ(at(step), &held(&resumed)), [""; 0], "kill {kill}, step {step}");
        run(&mut resumed, step..step + MORE);
        let behind = differ(at(step + MORE), &held(&resumed));
        assert_eq!(behind, [""; 0], "kill {kill}, {MORE} steps behind {step}");
        // Those that were there before stay whole, too.
        for step in checkpoints.steps().unwrap() {
            fallline_checkpoint::Checkpoint::open(checkpoints.path(step))
                .and_then(|checkpoint| checkpoint.verify())
                .unwrap();
        }
        last = step;
        if step == STEPS {
            fs::remove_dir_all(folder.path()).unwrap();
            last = 0;
        }
    }
    hit
}

#[test]
fn fifty_kills_lose_nothing() {
    let hit = survives(50);
    assert!(hit >= 5, "only {hit} kills hit a save");
}

#[test]
#[ignore = "an hour"]
fn a_thousand_kills_lose_nothing() {
    let hit = survives(1000);
    println!("{hit} of 1000 kills hit a save");
    assert!(hit >= 100, "only {hit} kills hit a save");
}
