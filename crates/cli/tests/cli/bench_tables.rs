//! What `fallline bench` prints fits a terminal of a hundred columns.

use fallline::RULE_NAMES;

use crate::common::{fallline, scratch};

const WIDTH: usize = 100;

/// Runs `fallline bench`, and looks at every line that it prints.
#[track_caller]
fn fits(options: &[&str]) -> String {
    let size = ["bench", "--width", "0.02"];
    let ran = fallline(&[&size[..], options].concat()).good();
    for line in ran.out.lines() {
        let len = line.chars().count();
        assert!(len <= WIDTH, "{options:?}: {len} columns:\n{line}\nof\n{}", ran.out);
    }
    ran.out
}

fn longest_rule() -> &'static str {
    RULE_NAMES.iter().max_by_key(|name| name.len()).expect("there are rules")
}

#[test]
fn times_fit() {
    let steps = ["--steps", "2"];
    let models = ["--model", "gpt2-small"];
    let out = fits(&[&models[..], &steps, &["--rule", longest_rule()]].concat());
    assert!(!out.contains("unfused"), "nothing was measured beside the steps: {out}");
    let out = fits(&[&models[..], &steps, &["--rule", "adamw,lion"]].concat());
    assert!(out.contains("unfused ms"), "{out}");
    let mixed = ["--param", "bf16", "--grad", "bf16", "--master", "remainder8"];
    let scaled = ["--state", "companded", "--clip", "1", "--loss-scale", "dynamic", "--borrowed"];
    let around = ["--caution", "--cautious-decay", "--update-clipping", "0.123456789"];
    let averaged = ["--lookahead-k", "4000000000", "--ema-decay", "0.999999", "--ema-warmup"];
    let all = [&models[..], &steps, &mixed, &scaled, &around, &averaged].concat();
    fits(&[&all[..], &["--rule", "adamw,stable_adamw", "--no-baselines"]].concat());
    let stochastic = ["--param", "bf16", "--stochastic-rounding", "--swa-start", "2"];
    fits(&[&models[..], &steps, &stochastic, &["--rule", "sgd,adafactor_hf"]].concat());
}

#[test]
fn memory_fits() {
    let out = fits(&["--memory", "--model", "many-small", "--rule", longest_rule()]);
    assert!(out.contains("stochastic"), "{out}");
}

#[test]
fn moving_fits() {
    let what = ["--borrowed", "--moving", "--steps", "2", "--model", "gpt2-small,many-small"];
    fits(&[&what[..], &["--rule", longest_rule(), "--clip", "1"]].concat());
}

#[test]
fn all_rules_fit_and_are_compared() {
    let path = scratch("rows.json");
    let json = path.to_str().expect("a name in UTF-8");
    let what = ["--all-rules", "--model", "many-small", "--steps", "1"];
    let out = fits(&[&what[..], &["--json", json]].concat());
    assert!(out.contains("\nState formats: any is "), "{out}");
    let out = fits(&[
        "--model",
        "many-small",
        "--steps",
        "1",
        "--rule",
        longest_rule(),
        "--compare",
        json,
    ]);
    let only = out.matches("\n  --model many-small --rule ").count();
    assert_eq!(only, RULE_NAMES.len() - 1, "{out}");
}
