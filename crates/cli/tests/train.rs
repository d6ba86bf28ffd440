//! `fallline train`, as a user runs it.

mod common;

use std::fs;

use common::{Ran, fallline, scratch, unread};
use serde_json::Value;

/// A short run whose files all have this stem.
fn train(stem: &str, more: &[&str]) -> Ran {
    let paths = ["svg", "csv", "json"].map(|end| scratch(&format!("{stem}.{end}")));
    let [svg, csv, json] = paths.each_ref().map(|path| path.to_str().unwrap());
    let mut arguments = vec!["train", "--svg", svg, "--csv", csv, "--json", json];
    arguments.extend(["--epochs", "3", "--hidden", "16"]);
    arguments.extend(more);
    fallline(&arguments)
}

fn text(name: &str) -> String {
    fs::read_to_string(scratch(name)).unwrap()
}

fn runs(name: &str) -> Vec<Value> {
    serde_json::from_str(&text(name)).unwrap()
}

#[test]
fn a_run_prints_its_epochs_and_writes_its_curve() {
    let ran = train("one", &["--seed", "7"]).good();
    for line in ["rule   epoch  train loss", "adamw      1  ", "adamw      3  "] {
        assert!(ran.out.contains(&format!("\n{line}")), "{}", ran.out);
    }
    assert!(ran.out.contains("seed 7\n") && ran.out.contains("after 3 epochs"), "{}", ran.out);
    assert!(ran.out.ends_with("one.csv\n"), "{}", ran.out);

    let csv = text("one.csv");
    assert_eq!(csv.lines().count(), 4);
    assert_eq!(csv.lines().next(), Some("rule,epoch,train_loss,test_loss,test_accuracy"));
    let svg = text("one.svg");
    assert!(svg.starts_with("<svg") && svg.contains("training loss"), "{svg}");
    assert!(svg.contains("perceptron 64-16-16-10"), "{svg}");

    let runs = runs("one.json");
    assert_eq!(runs.len(), 1);
    let run = &runs[0];
    assert!(run["adapter"]["name"].is_string());
    assert_eq!(run["rule"], "adamw");
    assert_eq!((run["epochs"].as_u64(), run["seed"].as_u64()), (Some(3), Some(7)));
    assert!(run["lr"].is_f64() && run["seconds"].is_f64());
    let curve = run["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 3);
    assert_eq!(curve[2]["test_accuracy"], run["test_accuracy"]);
    // It learns: a guess is right one time in ten.
    assert!(run["test_accuracy"].as_f64().unwrap() > 0.5, "{run}");
    let loss = |epoch: usize| curve[epoch]["train_loss"].as_f64().unwrap();
    assert!(loss(2) < loss(0), "{run}");
}

#[test]
fn rules_are_compared_in_one_picture() {
    train("three", &["--compare", "adamw,lion,sgd"]).good();
    let runs = runs("three.json");
    let rules: Vec<&str> = runs.iter().map(|run| run["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["adamw", "lion", "sgd"]);
    let (svg, csv) = (text("three.svg"), text("three.csv"));
    assert_eq!(csv.lines().count(), 1 + 3 * 3);
    for rule in rules {
        assert!(svg.contains(&format!("{rule}: ")), "{rule}");
        assert!(csv.contains(&format!("\n{rule},3,")), "{rule}");
    }
}

#[test]
fn a_run_that_diverges_says_so() {
    let ran = train("diverged", &["--rule", "sgd", "--lr", "1e30"]);
    assert!(ran.err.contains("sgd diverged: try a smaller --lr than 1e30"), "{ran:?}");
    assert!(text("diverged.svg").contains("training loss"));
}

#[test]
fn bad_values_are_refused() {
    for (more, expected) in [
        (["--lr", "-1"], "--lr must be a finite number >= 0, found -1"),
        (["--lr", "nan"], "--lr must be a finite number >= 0, found NaN"),
        (["--epochs", "0"], "--epochs must be at least 1, found 0"),
        (["--batch-size", "0"], "--batch-size must be 1 to 1437"),
        (["--batch-size", "1438"], "--batch-size must be 1 to 1437"),
        (["--hidden", "6"], "--hidden must be a multiple of 4 from 4 to 4096, found 6"),
        (["--compare", "sgd,sgd"], "--compare names sgd twice"),
    ] {
        fallline(&[&["train"], &more[..]].concat()).says(expected);
    }
    for more in [["--rule", "muon"], ["--seed", "-1"], ["--epochs", "many"]] {
        assert_eq!(fallline(&[&["train"], &more[..]].concat()).code, Some(2), "{more:?}");
    }
    assert_eq!(fallline(&["train", "--compare", "sgd", "--rule", "sgd"]).code, Some(2));
}

#[test]
fn paths_that_cannot_be_written_are_found_first() {
    for option in ["--svg", "--csv", "--json"] {
        fallline(&["train", option, "/no/such/folder/x"]).says("cannot write /no/such/folder/x");
    }
    let folder = env!("CARGO_TARGET_TMPDIR");
    fallline(&["train", "--svg", folder]).says("it is a directory");
    fallline(&["train", "--svg", "same", "--json", "same"]).says("same is given for two outputs");
}

#[cfg(unix)]
#[test]
fn files_that_nobody_wants_can_go_to_dev_null() {
    let files = ["--svg", "/dev/null", "--csv", "/dev/null", "--json", "/dev/stdout"];
    let ran = fallline(&[&["train", "--epochs", "1", "--hidden", "4"], &files[..]].concat()).good();
    assert!(ran.out.contains("\"curve\": ["), "{}", ran.out);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_closed_pipe_does_not_lose_the_run() {
    let paths = ["pipe.svg", "pipe.csv"].map(scratch);
    let [svg, csv] = paths.each_ref().map(|path| path.to_str().unwrap());
    let size = ["train", "--epochs", "2", "--hidden", "4"];
    unread(&[&size[..], &["--svg", svg, "--csv", csv]].concat()).good();
    assert_eq!(text("pipe.csv").lines().count(), 3);
}
