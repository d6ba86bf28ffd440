//! `fallline train --schedule` and `--warmup`, as a user runs them.

use std::fs;

use serde_json::Value;

use crate::common::{Ran, config, fallline, scratch};

fn train(more: &[&str]) -> Ran {
    let epochs: &[&str] = if more.contains(&"--epochs") { &[] } else { &["--epochs", "2"] };
    fallline(&[&["train", "--hidden", "16"], epochs, more].concat())
}

/// Its result; the file is named by the test.
fn result(more: &[&str]) -> Value {
    let json = scratch("result.json");
    train(&[&["--json", json.to_str().unwrap()], more].concat()).good();
    let mut runs: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    runs.remove(0)
}

#[test]
fn a_schedule_takes_the_place_of_the_models() {
    let default = result(&[]);
    assert_eq!((default.get("schedule"), default.get("warmup")), (None, None));
    // The half cosine by its name is the same, but for how its cosine is written down.
    let cosine = result(&["--schedule", "cosine_annealing"]);
    assert_eq!(cosine["schedule"]["kind"], "cosine_annealing");
    assert_eq!(cosine["schedule"]["T_max"], 90);
    let loss = |run: &Value| run["test_loss"].as_f64().unwrap();
    assert!((loss(&cosine) / loss(&default) - 1.0).abs() < 1e-3, "{cosine} {default}");

    // A factor of 0 from step 10 on: nothing is learned any more.
    let stops = result(&["--schedule", "multi_step,milestones=[10],gamma=0.0"]);
    let losses = stops["losses"].as_array().unwrap();
    assert_eq!(losses[..11], default_losses(&["--schedule", "constant,factor=1.0"])[..11]);
    let curve = stops["curve"].as_array().unwrap();
    assert_eq!(curve[0]["test_loss"], curve[1]["test_loss"]);
}

fn default_losses(more: &[&str]) -> Vec<Value> {
    result(more)["losses"].as_array().unwrap().clone()
}

#[test]
fn a_warm_up_begins_with_small_steps() {
    let flat = result(&["--schedule", "constant,factor=1.0"]);
    let warm = result(&["--schedule", "constant,factor=1.0", "--warmup", "40"]);
    assert_eq!(warm["warmup"], 40);
    assert_eq!(warm["losses"][0], flat["losses"][0]);
    let loss = |run: &Value| run["losses"][5].as_f64().unwrap();
    assert!(loss(&warm) > loss(&flat), "{warm} {flat}");
}

#[test]
fn a_file_holds_a_schedule_and_the_test_loss_is_a_metric() {
    let text = "[schedule]\nkind = \"reduce_on_plateau\"\npatience = 0\nthreshold = 100.0\n\
                threshold_mode = \"abs\"\nfactor = 0.0\n";
    let file = config("plateau.toml", text);
    let run = result(&["--schedule", file.to_str().unwrap(), "--epochs", "3"]);
    // No loss is better by 100: after the second test the rate is 0.
    let curve = run["curve"].as_array().unwrap();
    assert_ne!(curve[0]["test_loss"], curve[1]["test_loss"]);
    assert_eq!(curve[1]["test_loss"], curve[2]["test_loss"]);
}

#[test]
fn what_has_no_schedule_says_so() {
    for (options, expected) in [
        (["--rule", "schedulefree_sgd", "--schedule", "cosine_annealing"], "is schedule-free"),
        (["--rule", "rprop", "--warmup", "5"], "the learning rate of rprop is fixed"),
        (["--rule", "sgd", "--schedule", "cosin"], "--schedule cosin: "),
        (["--rule", "sgd", "--schedule", "step"], "missing field `step_size`"),
    ] {
        train(&options).refuses(expected);
    }
    let file =
        config("base.toml", "base_lrs = [0.1]\n[schedule]\nkind = \"step\"\nstep_size = 3\n");
    train(&["--schedule", file.to_str().unwrap()]).refuses("base_lrs has no meaning for train");
}

#[test]
fn momentum_follows_a_schedule() {
    let cycle = "one_cycle,max_lr=0.1";
    let still = format!("{cycle},cycle_momentum=false");
    let losses = |rule, schedule| default_losses(&["--rule", rule, "--schedule", schedule]);
    for rule in ["sgd", "adamw"] {
        let (moving, fixed) = (losses(rule, cycle), losses(rule, &still));
        assert_ne!(moving, fixed, "{rule}");
        assert_eq!(moving[0], fixed[0], "{rule}");
    }
    let train = |rule, schedule| train(&["--rule", rule, "--schedule", schedule]);
    train("adagrad", cycle).refuses(
        "--schedule: one_cycle moves the momentum, and adagrad, the rule of decay, has none that \
         moves: add cycle_momentum=false",
    );
    train("adagrad", &still).good();
}
