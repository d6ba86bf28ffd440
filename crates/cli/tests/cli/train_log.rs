//! `fallline train --log`, as a user runs it.

use std::fs;

use serde_json::Value;

use crate::common::{Ran, fallline, scratch};

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

#[test]
fn a_run_that_goes_on_has_the_whole_log() {
    let folder = scratch("checkpoints");
    let _ = fs::remove_dir_all(&folder);
    let saves = ["--checkpoint-every", "50", "--checkpoints", folder.to_str().unwrap()];
    let scaled = ["--log-every", "7", "--loss-scale", "dynamic"];
    train("whole.jsonl", &[&saves[..], &scaled].concat()).good();
    fs::remove_file(folder.join("checkpoint-90.safetensors")).unwrap();
    train("resumed.jsonl", &[&saves[..], &scaled, &["--resume"]].concat()).good();
    let (mut whole, mut resumed) = (records("whole.jsonl"), records("resumed.jsonl"));
    for record in whole.iter_mut().chain(&mut resumed) {
        // These go by the reports since the process began.
        for key in ["steps", "suggested_max_norm"] {
            record.as_object_mut().unwrap().remove(key);
        }
    }
    assert_eq!(whole, resumed);
}

#[test]
fn a_log_is_json_lines_or_csv() {
    train("run.csv", &[]).good();
    let text = fs::read_to_string(scratch("run.csv")).unwrap();
    assert!(text.starts_with("step,loss,"), "{text}");
    assert!(text.lines().count() >= 5, "{text}");
    train("run.txt", &[]).refuses("--log must end in .jsonl or .csv, found ");
}
