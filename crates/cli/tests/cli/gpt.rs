//! `fallline train --model gpt`, as a user runs it.

use std::fs;

use serde_json::Value;

use crate::common::{Ran, fallline, scratch};

/// A small model, few steps of which take no time.
const SMALL: [&str; 16] = [
    "--steps",
    "12",
    "--eval-interval",
    "8",
    "--batch-size",
    "4",
    "--n-layer",
    "1",
    "--n-head",
    "2",
    "--n-embd",
    "32",
    "--block-size",
    "16",
    "--sample",
    "20",
];

/// A run whose files have this stem.
fn train(stem: &str, options: &[&str]) -> (Ran, Vec<Value>) {
    let paths = ["svg", "csv", "json"].map(|end| scratch(&format!("{stem}.{end}")));
    let [svg, csv, json] = paths.each_ref().map(|path| path.to_str().unwrap());
    let files = ["train", "--model", "gpt", "--svg", svg, "--csv", csv, "--json", json];
    let ran = fallline(&[&files, options].concat()).good();
    (ran, serde_json::from_str(&text(&format!("{stem}.json"))).unwrap())
}

fn text(name: &str) -> String {
    fs::read_to_string(scratch(name)).unwrap()
}

fn losses(run: &Value) -> Vec<f64> {
    let losses = run["losses"].as_array().unwrap();
    losses.iter().map(|loss| loss.as_f64().unwrap()).collect()
}

#[test]
fn losses_are_those_of_pytorch() {
    // tools/compare_gpt.py --out has written them, to six digits behind the point.
    let golden: Value = serde_json::from_str(include_str!("gpt_losses.json")).unwrap();
    let option = |name: &str| [format!("--{}", name.replace('_', "-")), golden[name].to_string()];
    let sizes = ["seed", "steps", "eval_interval", "batch_size", "n_layer", "n_head", "n_embd"];
    let options: Vec<String> =
        sizes.iter().chain(&["block_size"]).flat_map(|name| option(name)).collect();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--sample", "30"]);
    let (ran, runs) = train("golden", &options);
    let run = &runs[0];
    let (found, expected) = (losses(run), losses(&golden));
    assert_eq!(found.len(), 40);
    for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let apart = (found - expected).abs() / expected;
        assert!(apart < 1e-5, "step {step}: {found}, in PyTorch {expected}");
    }

    assert_eq!(run["model"], "gpt");
    assert_eq!(run["epochs"], Value::Null);
    assert_eq!(run["precision"]["clip"], "1");
    let curve = run["curve"].as_array().unwrap();
    assert_eq!((&curve[0]["step"], &curve[1]["step"]), (&20.into(), &40.into()));
    // The mean of what was seen, and what was not seen.
    let mean = found[20..].iter().sum::<f64>() / 20.0;
    assert!((curve[1]["train_loss"].as_f64().unwrap() - mean).abs() < 1e-5, "{run}");
    let test = run["test_loss"].as_f64().unwrap();
    assert!((test - mean).abs() < 0.3, "{run}");
    // Better than to guess by how often each character is seen.
    assert!(test < 3.3, "{run}");

    let sample = run["sample"].as_str().unwrap();
    assert_eq!(sample.chars().count(), 30);
    assert!(ran.out.contains(&format!("\nWritten after adamw:\n\n{sample}\n")), "{}", ran.out);
    assert!(ran.out.starts_with("GPT of 2 layers, 2 heads, width 32, context 32, "), "{}", ran.out);
    let bits =
        format!("adamw: {:.3} bits per character of the test after 40 steps", test / 2f64.ln());
    assert!(ran.out.contains(&bits), "{}", ran.out);
    let csv = text("golden.csv");
    assert_eq!(csv.lines().next(), Some("rule,step,loss,train_loss,test_loss,test_accuracy,norm"));
    assert_eq!(csv.lines().count(), 41);
    // A point with a rim for each test, and a line through all steps.
    let svg = text("golden.svg");
    assert_eq!(svg.matches("<circle").count(), 2 * 2, "{svg}");
    let points = |line: &str| line.split("points=").nth(1).map(|it| it.split(' ').count());
    let thin = svg.lines().filter(|line| line.contains("stroke-width=\"1\""));
    assert_eq!(thin.filter_map(points).filter(|points| *points >= 40).count(), 1, "{svg}");
}

#[test]
fn a_seed_gives_the_same_bits() {
    let run = |seed| {
        let (_, runs) = train("seed", &[&SMALL[..], &["--seed", seed]].concat());
        ((losses(&runs[0]), runs[0]["sample"].clone()), text("seed.csv"))
    };
    let first = run("3");
    // The last round is shorter.
    assert_eq!(first.0.0.len(), 12);
    assert_eq!(first, run("3"));
    let other = run("4");
    assert_ne!(first.0.0, other.0.0);
    assert_ne!(first.0.1, other.0.1);
}

#[test]
fn what_is_written_depends_on_the_temperature() {
    let sample = |temperature| {
        let (_, runs) = train("bold", &[&SMALL[..], &["--temperature", temperature]].concat());
        runs[0]["sample"].as_str().unwrap().to_owned()
    };
    let cold = sample("1e-6");
    assert_eq!(cold, sample("1e-7"), "always the likeliest");
    assert_ne!(cold, sample("2"));
}

#[test]
fn rules_of_every_kind_train_it() {
    // With sums over tensors, rows and columns, estimates, a fixed learning rate, another place to be tested at.
    let rules = ["adamw", "sgd", "lars", "adafactor", "sophia", "rprop", "schedulefree_adamw"];
    let compare = ["--compare", &rules.join(",")];
    let (ran, runs) = train("rules", &[&SMALL[..], &compare].concat());
    assert_eq!(runs.len(), rules.len());
    for (run, rule) in runs.iter().zip(rules) {
        assert_eq!(run["rule"], rule);
        let losses = losses(run);
        // Batches differ by less than this.
        let end = losses[9..].iter().sum::<f64>() / 3.0;
        assert!(end < losses[0] - 0.01, "{rule}: {losses:?}");
        assert!(ran.out.contains(&format!("\nWritten after {rule}:\n")), "{}", ran.out);
    }
    assert!(text("rules.svg").contains("adafactor: "));
}

#[test]
fn it_trains_in_fewer_bits() {
    let exact = losses(&train("exact", &SMALL).1[0]);
    for (options, most) in [
        (&["--state", "int8"][..], 1e-3),
        (&["--param", "bf16", "--master", "remainder", "--loss-scale", "dynamic"], 1e-2),
        (&["--param", "f16", "--grad", "f32", "--master", "f32"], 1e-2),
    ] {
        let losses = losses(&train("fewer_bits", &[&SMALL[..], options].concat()).1[0]);
        assert_ne!(losses, exact, "{options:?}");
        let apart = (losses[11] - exact[11]).abs() / exact[11];
        assert!(apart < most, "{options:?}: {apart}");
    }
}

#[test]
fn options_of_another_model_are_refused() {
    for (options, expected) in [
        (&["--steps", "3"][..], "--steps is an option of --model gpt"),
        (&["--temperature", "1"], "--temperature is an option of --model gpt"),
        (&["--model", "gpt", "--hidden", "8"], "--hidden is an option of --model perceptron"),
        (&["--model", "gpt", "--epochs", "8"], "--epochs is an option of --model perceptron"),
        (
            &["--model", "gpt", "--batch", "all"],
            "--batch-size must be a number for --model gpt, found all",
        ),
        (
            &["--model", "gpt", "--steps", "0"],
            "--steps must be 1 to 4294967295 for --model gpt, found 0",
        ),
        (
            &["--model", "gpt", "--n-head", "65"],
            "--n-head must be 1 to 64 for --model gpt, found 65",
        ),
        (
            &["--model", "gpt", "--n-embd", "100", "--n-head", "3"],
            "--n-embd must be a multiple of 12 (4 for each head) up to 1024, found 100",
        ),
        (
            &["--model", "gpt", "--block-size", "30"],
            "--block-size must be a multiple of 4 from 4 to 1024, found 30",
        ),
        (
            &["--model", "gpt", "--block-size", "1024", "--batch-size", "64"],
            "--batch-size, --block-size and --n-head make a buffer of 268435456 numbers, more than",
        ),
        (
            &["--model", "gpt", "--temperature", "-1"],
            "--temperature must be finite and > 0, found -1",
        ),
    ] {
        fallline(&[&["train"], options].concat()).refuses(expected);
    }
}
