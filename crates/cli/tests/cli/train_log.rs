//! `fallline train --log`, as a user runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::common::{Ran, binary, fallline, scratch};

fn train(log: &str, more: &[&str]) -> Ran {
    let (json, log) = (scratch("result.json"), scratch(log));
    let files = ["--json", json.to_str().unwrap(), "--log", log.to_str().unwrap()];
    let size = ["--hidden", "16", "--epochs", "2"];
    fallline(&[&["train"], &files[..], &size, more].concat())
}

fn records(log: &str) -> Vec<Value> {
    let text = fs::read_to_string(scratch(log)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn losses() -> Vec<Value> {
    let runs: Value =
        serde_json::from_str(&fs::read_to_string(scratch("result.json")).unwrap()).unwrap();
    runs[0]["losses"].as_array().unwrap().clone()
}

#[test]
fn a_log_tells_of_every_nth_step_and_can_be_drawn() {
    let ran = train("run.jsonl", &["--log-every", "7", "--lr", "0.01"]).good();
    assert!(ran.out.ends_with("run.jsonl\n"), "{}", ran.out);
    let (records, losses) = (records("run.jsonl"), losses());
    assert!((12..=13).contains(&records.len()), "{}", records.len());
    for record in &records {
        let step = u32::try_from(record["step"].as_u64().unwrap()).unwrap();
        assert_eq!(record["loss"], losses[step as usize - 1], "{record}");
        let group = &record["groups"][0];
        assert!(group["update_norm"].as_f64().unwrap() > 0.0, "{record}");
        // The half cosine, in the kernels' f32.
        let half = f64::from(step - 1) / 90.0 * std::f64::consts::PI;
        let expected = 0.01 * (1.0 + half.cos()) / 2.0;
        assert!((group["lr"].as_f64().unwrap() - expected).abs() < 1e-8, "{record}");
    }
    let (log, svg) = (scratch("run.jsonl"), scratch("run.svg"));
    fallline(&["plot", log.to_str().unwrap(), "-o", svg.to_str().unwrap()]).good();
    assert!(fs::read_to_string(svg).unwrap().contains("loss"));

    // To look on changes nothing.
    let json = scratch("plain.json");
    let plain = ["train", "--hidden", "16", "--epochs", "2", "--lr", "0.01"];
    fallline(&[&plain[..], &["--json", json.to_str().unwrap()]].concat()).good();
    let plain: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(plain[0]["losses"], Value::from(losses));
}

/// A run that is killed in its middle, and what then continues it.
fn killed_and_resumed(log: &str, options: &[&str]) {
    let [folder, whole, log] = ["checkpoints", "whole", log].map(scratch);
    let _ = fs::remove_dir_all(&folder);
    let _ = fs::remove_file(&log);
    let whole = whole.with_extension(log.extension().unwrap());
    let size = ["train", "--hidden", "16", "--batch", "8", "--epochs", "9", "--log-every", "7"];
    let arguments = |log: &Path| {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let log = ["--log".to_owned(), path(log), "--checkpoints".into(), path(&folder)];
        let given = size.iter().chain(options).map(|&argument| argument.to_owned());
        given.chain(log).chain(["--checkpoint-every".into(), "200".into()]).collect::<Vec<_>>()
    };
    fallline(&arguments(&whole)).good();
    fs::remove_dir_all(&folder).unwrap();
    let whole = fs::read_to_string(whole).unwrap();

    let mut child = Command::new(binary())
        .args(arguments(&log))
        .env("NODEVICE_SELECT", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = folder.join("checkpoint-200.safetensors");
    while !first.exists() {
        assert_eq!(child.try_wait().unwrap(), None, "it is over already");
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_millis(100));
    child.kill().unwrap();
    child.wait().unwrap();
    // Lines of steps before the checkpoint are there, and are those of the run that was not killed.
    let lines = fs::read_to_string(&log).unwrap();
    assert!(lines.lines().count() >= 200 / 7 && lines.len() < whole.len(), "{lines}");
    assert!(whole.starts_with(&lines), "{lines}");

    // Whatever stands behind the checkpoint.
    let behind = whole.lines().last().unwrap();
    fs::write(&log, format!("{lines}{behind}\n{}", &behind[..9])).unwrap();
    fallline(&[arguments(&log), vec!["--resume".into()]].concat()).good();
    assert_eq!(fs::read_to_string(&log).unwrap(), whole);
}

#[test]
fn a_run_that_is_killed_has_its_lines_and_goes_on_with_the_whole_log() {
    killed_and_resumed("run.jsonl", &["--loss-scale", "dynamic", "--clip", "1"]);
    let bf16 = ["--param", "bf16", "--master", "remainder", "--state", "int8"];
    killed_and_resumed("run.csv", &[&bf16[..], &["--loss-scale", "dynamic:8e37"]].concat());
}

#[test]
fn what_is_no_log_is_not_gone_on_with() {
    let folder = scratch("checkpoints");
    let _ = fs::remove_dir_all(&folder);
    let saves = ["--checkpoints", folder.to_str().unwrap()];
    train("run.jsonl", &saves).good();
    fs::write(scratch("run.jsonl"), "notes\n").unwrap();
    let resumed = train("run.jsonl", &[&saves[..], &["--resume"]].concat());
    resumed.says("run.jsonl: line 1: expected ident");
    assert_eq!(fs::read_to_string(scratch("run.jsonl")).unwrap(), "notes\n");
}

#[test]
fn a_log_is_json_lines_or_csv() {
    train("run.csv", &[]).good();
    let text = fs::read_to_string(scratch("run.csv")).unwrap();
    assert!(text.starts_with("step,loss,"), "{text}");
    assert!(text.lines().count() >= 5, "{text}");
    train("run.txt", &[]).refuses("--log must end in .jsonl or .csv, found ");
}
