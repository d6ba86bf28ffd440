//! A process that trains and saves is killed at any moment. What it saved last loads, and the run goes on to the bit.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fallline::{AdamW, Dtype, Gpu, Group, Optimizer, Precision, Saved, StateFormat, TensorSpec};
use fallline_checkpoint::{Checkpoint, Checkpoints};

use crate::common::{begin, differ, gpu, held, optimizer, run, values};

/// Where the process that is killed saves.
const FOLDER: &str = "FALLLINE_KILL_FOLDER";

/// How often it is killed by hand.
const KILLS: &str = "FALLLINE_KILLS";

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
        println!("saved");
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

/// Starts the process, and kills it so long after it has begun to work, or has saved once.
fn kill_after(folder: &Path, begun: &str, delay: Duration) {
    let mut command = Command::new(env::current_exe().expect("this test is a file"));
    command.args(["kill::victim", "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder);
    let mut victim = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let stdout = victim.stdout.take().expect("it is piped");
    // Read from to the end: one that comes to its own has to say so.
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    // If the run is at its end, nothing is left to be saved.
    let _ = lines.any(|line| line == begun);
    thread::sleep(delay);
    // SIGKILL, which nothing can catch; it may have come to its end before.
    let _ = victim.kill();
    let ended = victim.wait().expect("it ends");
    drop(lines);
    assert!(ended.code().is_none_or(|code| code == 0), "{ended}: it failed by itself");
}

/// What came of some kills.
#[derive(Debug, Default)]
struct Survived {
    /// How many hit a save.
    hits: u32,
    /// After how many there was a checkpoint, which loaded and went on.
    resumed: u32,
    /// How many times the last checkpoint was another than after the kill before.
    moved: u32,
}

fn survives(kills: u32) -> Survived {
    let gpu = gpu();
    let expected = straight(&gpu);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(folder.path());
    let mut resumed = build(&gpu);
    // How long a save takes here and now: kills come within the time of two.
    let began = Instant::now();
    checkpoints.save(&resumed, 0, &0u64).unwrap();
    let longest = 2 * began.elapsed();
    fs::remove_dir_all(folder.path()).unwrap();

    let mut survived = Survived::default();
    let mut last = 0;
    for kill in 0..kills {
        let seed = u64::from(process::id()) << 32 | u64::from(kill);
        // Every second one comes behind a save, so that the run gets on however slow the disk is.
        let begun = if kill % 2 == 0 { "saved" } else { "at work" };
        kill_after(folder.path(), begun, longest.mul_f32(values(seed, 1)[0].abs()));
        let is_part = |name: &str| name.ends_with(".part");
        let names = fs::read_dir(folder.path()).map_or(Vec::new(), |entries| entries.collect());
        let names = names.into_iter().map(|entry| entry.unwrap().file_name());
        survived.hits += u32::from(names.into_iter().any(|name| is_part(&name.to_string_lossy())));

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
            Checkpoint::open(checkpoints.path(step)).and_then(|other| other.verify()).unwrap();
        }
        survived.resumed += 1;
        survived.moved += u32::from(step > last);
        last = step;
        if step == STEPS {
            fs::remove_dir_all(folder.path()).unwrap();
            last = 0;
        }
    }
    println!("{kills} kills: {survived:?}");
    survived
}

/// Whether they have tested anything.
fn check(kills: u32) {
    let Survived { hits, resumed, moved } = survives(kills);
    let enough = hits >= kills / 5 && resumed >= kills / 2 && moved >= kills / 5;
    assert!(enough, "of {kills} kills {hits} hit a save, {resumed} went on, {moved} from another");
}

#[test]
fn fifty_kills_lose_nothing() {
    check(50);
}

/// A number in the environment is for several processes at once.
#[test]
#[ignore = "twenty minutes"]
fn a_thousand_kills_lose_nothing() {
    let kills = env::var(KILLS).map_or(1000, |kills| kills.parse().expect("a number"));
    check(kills);
}
