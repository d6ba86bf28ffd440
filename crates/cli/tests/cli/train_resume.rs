//! `fallline train` that is saved, stopped and continued, as a user does it.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::common::{Ran, config, fallline, read, scratch};

/// A run of three epochs of 45 steps whose files all have this stem.
fn train(stem: &str, more: &[&str]) -> Ran {
    let paths = ["csv", "json"].map(|end| scratch(&format!("{stem}.{end}")));
    let [csv, json] = paths.each_ref().map(|path| path.to_str().unwrap());
    let digits: &[&str] =
        if more.contains(&"gpt") { &[] } else { &["--epochs", "3", "--hidden", "64"] };
    fallline(&[&["train", "--csv", csv, "--json", json], digits, more].concat())
}

/// What it wrote, without how long it took.
fn written(stem: &str) -> (String, Value) {
    let text = |end: &str| fs::read_to_string(scratch(&format!("{stem}.{end}"))).unwrap();
    let mut json: Value = serde_json::from_str(&text("json")).unwrap();
    json[0].as_object_mut().unwrap().remove("seconds").unwrap();
    (text("csv"), json)
}

/// An empty folder.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// A run that is saved every `every` steps, killed behind the first of them and continued is the run that was never
/// saved, to the bit.
#[track_caller]
fn continues(options: &[&str], every: u32, end: u32) {
    let folder = folder("checkpoints");
    let (every_text, name) = (every.to_string(), folder.to_str().unwrap());
    let saves = [options, &["--checkpoint-every", &every_text, "--checkpoints", name]].concat();
    train("plain", options).good();
    train("saved", &saves).good();
    assert_eq!(written("plain"), written("saved"));

    let file = |step: u32| folder.join(format!("checkpoint-{step}.safetensors"));
    let last = read(&file(end)).0;
    for step in (2 * every..end).step_by(every as usize).chain([end]) {
        fs::remove_file(file(step)).unwrap();
    }
    let ran = train("resumed", &[&saves[..], &["--resume"]].concat()).good();
    assert_eq!(written("plain"), written("resumed"));
    assert_eq!(last, read(&file(end)).0);
    // The rounds that were over are not trained again.
    let run = &written("plain").1[0];
    let rule = run["rule"].as_str().unwrap();
    let rows = ran.out.lines().filter(|line| line.starts_with(&format!("{rule} "))).count();
    assert!((1..run["curve"].as_array().unwrap().len()).contains(&rows), "{}", ran.out);
}

#[test]
fn adamw_with_an_average_continues_within_an_epoch() {
    continues(&["--ema-decay", "0.9", "--clip", "1"], 50, 135);
}

#[test]
fn prodigy_continues() {
    continues(&["--rule", "prodigy"], 50, 135);
}

#[test]
fn schedule_free_continues() {
    continues(&["--rule", "schedulefree_adamw"], 61, 135);
}

#[test]
fn sophia_continues_between_two_estimates() {
    continues(&["--rule", "sophia"], 57, 135);
}

#[test]
fn few_bits_and_a_loss_scale_continue() {
    let bf16 = ["--param", "bf16", "--master", "remainder", "--state", "int8"];
    let scale = ["--loss-scale", "dynamic:8e37"];
    continues(&[&bf16[..], &scale].concat(), 50, 135);
    let rounded = ["--param", "bf16", "--stochastic-rounding", "--grad", "f16"];
    continues(&[&rounded[..], &["--loss-scale", "dynamic"]].concat(), 90, 135);
}

#[test]
fn a_schedule_by_the_loss_continues() {
    let plateau = "reduce_on_plateau,patience=0,threshold=0.9,factor=0.5";
    continues(&["--schedule", plateau, "--warmup", "60"], 50, 135);
}

#[test]
fn a_momentum_that_moves_continues() {
    continues(&["--rule", "sgd", "--schedule", "one_cycle,max_lr=0.1"], 50, 135);
}

/// Rules, schedules and momenta of their own, one by the loss; a part that is frozen where the run is stopped.
const GROUPS: &str = "\
[optimizer]
rule = 'adamw'
lr = 4e-3
weight_decay = 0.1
no_decay = true

[schedule]
kind = 'one_cycle'
max_lr = 0.01

[weight_decay_schedule]
kind = 'cosine_annealing'

[[group]]
tensors = ['2.*']
rule = 'sgd'
lr = 0.05
momentum = 0.9
schedule = { kind = 'cyclic', max_lr = 0.1, step_size_up = 20 }
frozen = { from_step = 40, to_step = 60 }

[[group]]
tensors = ['1.*']
schedule = { kind = 'reduce_on_plateau', patience = 0, threshold = 0.9, factor = 0.5 }
";

#[test]
fn a_config_with_groups_and_schedules_continues() {
    let run = config("run.toml", GROUPS);
    continues(&["--config", run.to_str().unwrap()], 50, 135);
}

#[test]
fn another_config_is_not_continued() {
    let folder = folder("checkpoints");
    let saves = ["--checkpoints", folder.to_str().unwrap()];
    let run = config("run.toml", GROUPS);
    let of_run = ["--config", run.to_str().unwrap()];
    let again = |more: &[&str]| train("again", &[&saves, more].concat());
    again(&of_run).good();
    for (old, new, expected) in [
        ("max_lr = 0.01", "max_lr = 0.02", "begun with [schedule] max_lr 0.01, not 0.02"),
        ("momentum = 0.9", "momentum = 0.8", "begun with [[group]] number 1 momentum 0.9, not 0.8"),
        ("lr = 4e-3", "lr = 4e-3\nbetas = [0.8, 0.9]", "[optimizer] betas none, not [0.8,0.9]"),
        ("'cosine_annealing'\n", "'constant'\n", "begun with [weight_decay_schedule] kind \"cos"),
        ("['1.*']", "['1.weight']", "number 2 tensors [\"1.*\"], not [\"1.weight\"]"),
    ] {
        config("run.toml", &GROUPS.replacen(old, new, 1));
        again(&[&of_run[..], &["--resume"]].concat()).refuses(expected);
    }
    again(&["--resume"]).refuses("the run was begun with [optimizer] lr 0.004, not none");
    config("run.toml", GROUPS);
    again(&[&of_run[..], &["--resume", "--clip", "1"]].concat())
        .refuses("the run was begun with [clip] norm none, not 1");
    // Comments and the order of keys are not the run's.
    let (first, others) = GROUPS.split_once("lr = 4e-3\n").unwrap();
    config(
        "run.toml",
        &format!(
            "# The same.\n{first}{}",
            others.replacen("weight_decay", "lr = 4e-3\nweight_decay", 1)
        ),
    );
    again(&[&of_run[..], &["--resume"]].concat()).good();
}

#[test]
fn a_gpt_continues() {
    let size = ["--model", "gpt", "--n-layer", "1", "--n-head", "1", "--n-embd", "16"];
    let course = ["--steps", "14", "--eval-interval", "6", "--block-size", "16", "--sample", "20"];
    continues(&[&size[..], &course].concat(), 8, 14);
}

#[test]
fn another_run_is_not_continued() {
    let folder = folder("checkpoints");
    let saves = ["--checkpoints", folder.to_str().unwrap()];
    let again = |more: &[&str]| train("again", &[&saves, more].concat());
    again(&["--resume"]).refuses("there is no checkpoint in");
    again(&["--keep", "2", "--checkpoint-every", "50"]).good();
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["checkpoint-100.safetensors", "checkpoint-135.safetensors"]);
    again(&[]).refuses("has checkpoints already, the last of step 135");
    for (more, expected) in [
        (["--rule", "lion"], "the run was begun with rule \"adamw\", not \"lion\""),
        (["--lr", "0.01"], "the run was begun with lr 0.004, not 0.01"),
        (["--seed", "3"], "the run was begun with seed 0, not 3"),
        (["--schedule", "constant"], "the run was begun with schedule none, not {"),
        (["--state", "int8"], "the run was begun with state \"f32\", not \"int8\""),
    ] {
        again(&[&["--resume"], &more[..]].concat()).refuses(expected);
    }
    // One that is over has nothing left to do.
    again(&["--resume"]).good();
}

/// Ctrl-C stops a run in good order, and what it says continues it.
#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_run() {
    use std::{
        io::{BufRead, BufReader, Read},
        process::{Command, Stdio},
    };

    use crate::common::{binary, run_in};

    folder("checkpoints");
    let at = scratch("");
    let options = ["train", "--hidden", "16", "--batch", "8", "--epochs", "20"];
    let files = ["--csv", "stopped.csv", "-o", "stopped.svg"];
    let mut child = Command::new(binary())
        .args(options)
        .args(files)
        .env("NODEVICE_SELECT", "1")
        .current_dir(&at)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    // The second epoch has begun when the first has its row.
    while !said.contains("\nadamw") {
        assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let interrupt = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(interrupt.unwrap().success());
    out.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains(" of 3600, and is saved in checkpoints/checkpoint-"), "{said}");
    let lines = fs::read_to_string(at.join("stopped.csv")).unwrap().lines().count();
    assert!((181..3600).contains(&lines), "{lines}");
    assert!(fs::read_to_string(at.join("stopped.svg")).unwrap().starts_with("<svg"));

    // As pasted into a shell.
    let command = said.lines().find(|line| line.ends_with(" --resume")).unwrap();
    run_in(&at, Command::new("sh").args(["-c", command])).good();
    let resumed = fs::read_to_string(at.join("stopped.csv")).unwrap();
    let mut whole = Command::new(binary());
    run_in(&at, whole.args(options).args(["--csv", "whole.csv"])).good();
    assert_eq!(resumed, fs::read_to_string(at.join("whole.csv")).unwrap());
}
