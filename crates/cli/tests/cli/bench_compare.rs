//! `fallline bench --compare`, as a user runs it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::common::{Ran, fallline, scratch};

/// A row as `fallline bench --json` writes it, as far as it is read.
fn row(model: &str, ms_per_step: &[f64]) -> Value {
    let all = |value: f64| vec![value; ms_per_step.len()];
    json!({
        "schema": 1,
        "version": "0.1.0",
        "adapter": { "name": "a GPU", "backend": "vulkan", "driver": "driver 1" },
        "model": model,
        "rule": "adamw",
        "tensors": 1,
        "params": 16_384_000,
        "timing": "wall",
        "rounds": {
            "ms_per_step": ms_per_step,
            "roofline": all(0.9),
            "copy_gb_per_s": all(300.0),
        },
    })
}

fn write(name: &str, value: &Value) -> String {
    let path = scratch(name);
    fs::write(&path, value.to_string()).expect("written");
    path.to_str().expect("a name in UTF-8").to_owned()
}

fn compare(old: &Value, new: &Value) -> Ran {
    let (old, new) = (write("old.json", old), write("new.json", new));
    fallline(&["bench", "--compare", &old, &new])
}

/// The words of the line that has this as its quantity.
fn line<'a>(ran: &'a Ran, quantity: &str) -> Vec<&'a str> {
    let lines = ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = lines.filter(|words| words.contains(&quantity) && words.len() > 5);
    found.next().unwrap_or_else(|| panic!("no line of {quantity}: {}", ran.out))
}

const STEADY: [f64; 6] = [10.0, 10.1, 9.9, 10.0, 10.2, 10.05];

#[test]
fn a_slower_step_is_told_from_a_noisy_one() {
    let slower: Vec<f64> = STEADY.iter().map(|ms| ms * 1.2).collect();
    let noisy = [9.0, 11.0, 10.5, 9.8, 12.0, 10.4];
    for (times, verdict) in [(&STEADY, "~"), (&slower.try_into().unwrap(), "slower"), (&noisy, "~")]
    {
        let ran =
            compare(&json!([row("one-big", &STEADY)]), &json!([row("one-big", times)])).good();
        assert_eq!(line(&ran, "ms/step").last(), Some(&verdict), "{}", ran.out);
        assert_eq!(line(&ran, "roofline")[1..], ["0.90", "0.90", "1.000", "1.000..1.000", "~"]);
        assert!(!ran.out.contains("Not the same") && !ran.out.contains("Only in"), "{}", ran.out);
    }
    let ran =
        compare(&json!([row("one-big", &[12.0; 9])]), &json!([row("one-big", &[9.0; 8])])).good();
    let expected =
        ["one-big", "adamw", "ms/step", "12.0", "9.00", "0.750", "0.750..0.750", "faster"];
    assert_eq!(line(&ran, "ms/step"), expected, "{}", ran.out);
    // Rows of the same subject are taken together.
    let twice = json!([row("one-big", &[12.0; 3]), row("one-big", &[12.0; 3])]);
    let ran = compare(&twice, &json!([row("one-big", &[9.0; 8])])).good();
    assert_eq!(line(&ran, "ms/step"), expected, "{}", ran.out);
}

#[test]
fn what_has_no_spread_or_no_time_is_said() {
    let old = json!([row("one-big", &[10.0; 6])]);
    let ran = compare(&old, &json!([row("one-big", &[30.0; 4])])).good();
    assert_eq!(line(&ran, "ms/step")[3..], ["10.0", "30.0", "3.000", "-", "too", "few", "rounds"]);
    let mut untimed = row("one-big", &[0.0; 6]);
    untimed["rounds"]["roofline"][2] = Value::Null;
    for (old, new) in [(&old, &json!([untimed])), (&json!([untimed]), &old)] {
        let ran = compare(old, new).good();
        assert_eq!(line(&ran, "ms/step")[3..], ["-", "-", "-", "-", "not", "timed"], "{}", ran.out);
        assert_eq!(line(&ran, "roofline")[1..], ["-", "-", "-", "-", "not", "timed"]);
        assert!(!ran.out.contains("NaN") && !ran.out.contains("inf"), "{}", ran.out);
    }
}

#[test]
fn what_is_not_the_same_is_said() {
    let old = row("one-big", &STEADY);
    for (key, value, said) in [
        ("version", json!("0.0.9"), "Not the same fallline: fallline 0.1.0, and fallline 0.0.9"),
        ("timing", json!("gpu timestamps"), "Not the same timing: timed by wall, and timed by gpu"),
        (
            "params",
            json!(7),
            "Not the same model: one-big of 1 tensors and 16384000 parameters, and",
        ),
        (
            "adapter",
            json!({ "name": "a GPU", "backend": "vulkan", "driver": "driver 2" }),
            "Not the same driver: driver 1, and driver 2",
        ),
    ] {
        let mut new = old.clone();
        new[key] = value;
        let ran = compare(&json!([old]), &json!([new])).good();
        assert!(ran.out.contains(&format!("\n{said}")), "{said}: {}", ran.out);
        assert_eq!(ran.out.matches("Not the same").count(), 1, "{}", ran.out);
    }
}

/// Rows with other options are other rows; an option that a row does not name is at its default.
#[test]
fn only_the_same_options_are_compared() {
    let with = |key: &str, value: Value| {
        let mut row = row("one-big", &STEADY);
        row[key] = value;
        row
    };
    let plain = row("one-big", &STEADY);
    for (key, value, default, typed) in [
        ("state", json!("int8"), json!("f32"), "--state int8"),
        ("borrowed", json!(true), json!(false), "--borrowed"),
        ("clip", json!("1"), json!("none"), "--clip 1"),
        ("stochastic_rounding", json!(true), json!(false), "--stochastic-rounding"),
        ("width", json!(0.25), json!(1.0), "--width 0.25"),
        ("ema_decay", json!(0.9), Value::Null, "--ema-decay 0.9"),
    ] {
        let old = json!([plain, with(key, value.clone())]);
        let ran = compare(&old, &json!([with(key, default), row("vit-b16", &STEADY)])).good();
        let words = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        for only in [
            format!("old.json: --model one-big --rule adamw {typed} Only in "),
            "new.json: --model vit-b16 --rule adamw old, new: ".to_owned(),
        ] {
            assert!(words.contains(&only), "{only}: {}", ran.out);
        }
        assert_eq!(ran.out.matches("~\n").count(), 3, "{key}: {}", ran.out);
        let ran = compare(&old, &old).good();
        assert!(ran.out.contains(&format!("\nWith {typed}:\n")), "{key}: {}", ran.out);
        compare(&json!([plain]), &json!([with(key, value)])).refuses("has none of the rows of ");
    }
}

#[test]
fn a_file_that_is_no_result_is_named() {
    let old = json!([row("one-big", &STEADY)]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut old = old.clone();
        change(&mut old[0]);
        old
    };
    let without = |key: &str| with(&|row| drop(row.as_object_mut().expect("a row").remove(key)));
    for (bad, says) in [
        (json!({ "rows": [] }), "expected a list of rows, found an object"),
        (json!([]), "expected at least one row, found none"),
        (json!([3]), "row 1: expected an object, found a number"),
        (
            without("schema"),
            "row 1: expected `schema` 1 and the times of each round, found neither",
        ),
        (
            with(&|row| row["schema"] = json!(2)),
            "expected `schema` 1, which this version of fallline reads, found 2",
        ),
        (with(&|row| row["model"] = json!(3)), "row 1: `model` must be a name, found a number"),
        (without("rule"), "row 1: `rule` is missing"),
        (without("adapter"), "row 1: missing field `adapter`"),
        (without("rounds"), "row 1: `rounds`: "),
        (
            with(&|row| row["rounds"]["roofline"] = json!([])),
            "`rounds.roofline` must have a value at least, found none",
        ),
        (
            with(&|row| row["rounds"]["ms_per_step"][1] = json!(-2)),
            "`rounds.ms_per_step` must be numbers >= 0, found -2",
        ),
        (with(&|row| row["rounds"]["ms_per_step"] = json!("1")), "row 1: `rounds`: "),
    ] {
        compare(&bad, &old).says("old.json: no result of `fallline bench --json`: ");
        compare(&bad, &old).says(says);
        compare(&old, &bad).says(says);
    }
    let path = write("old.json", &old);
    fs::write(&path, "[{\"schema\": 1").unwrap();
    fallline(&["bench", "--compare", &path])
        .says("old.json: no result of `fallline bench --json`: expected JSON: EOF");
    fallline(&["bench", "--compare", "/no/such.json"]).says("cannot read /no/such.json: ");
}

#[test]
fn a_run_is_compared_with_the_one_before() {
    let path = scratch("old.json");
    let json = path.to_str().expect("a name in UTF-8");
    let options = ["bench", "--model", "one-big", "--width", "0.02", "--steps", "6", "--clip", "1"];
    let subject = [&options[..], &["--no-baselines", "--rule", "lion,sgd"]].concat();
    fallline(&[&subject[..], &["--json", json]].concat()).good();
    let ran = fallline(&[&subject[..], &["--compare", json]].concat()).good();
    assert!(
        ran.out.contains("ns/param") && ran.out.contains("\nnew: measured now: "),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("\nWith --clip 1 --width 0.02:\n"), "{}", ran.out);
    assert!(!ran.out.contains("Only in"), "{}", ran.out);
    // A file beside itself.
    let ran = fallline(&["bench", "--compare", json, json]).good();
    assert_eq!(ran.out.matches("~\n").count(), 6, "{}", ran.out);
    assert_eq!(ran.out.matches("  1.000  ").count(), 6, "{}", ran.out);

    // Nothing in common is found before anything is measured.
    let other = ["bench", "--model", "vit-b16", "--width", "0.02", "--compare", json];
    fallline(&other).refuses(
        "old.json has none of the rows to be measured: expected --model vit-b16 --rule adamw --width 0.02; \
         found --model one-big --rule lion --clip 1 --width 0.02; --model one-big",
    );
    fallline(&[&subject[..], &["--compare", json, "--json", json]].concat())
        .refuses("is given for input and output");
    // Rows of another kind.
    let memory = scratch("memory.json");
    let memory = memory.to_str().expect("a name in UTF-8");
    fallline(&["bench", "--memory", "--model", "one-big", "--width", "0.02", "--json", memory])
        .good();
    fallline(&["bench", "--compare", memory])
        .says("expected `schema` 1 and the times of each round");
    assert!(Path::new(memory).exists());
}

#[test]
fn a_second_result_goes_without_measuring() {
    let path = write("old.json", &json!([row("one-big", &STEADY)]));
    for option in [
        &["--steps", "3"][..],
        &["--clip", "1"],
        &["--borrowed"],
        &["--rule", "lion"],
        &["--json", "x"],
        &["--caution"],
    ] {
        let ran = fallline(&[&["bench", "--compare", &path, &path], option].concat());
        assert!(ran.code == Some(2) && ran.err.contains("cannot be used with"), "{ran:?}");
    }
    for bad in [&["bench", &path][..], &["bench", "--memory", "--compare", &path]] {
        assert_eq!(fallline(bad).code, Some(2), "{bad:?}");
    }
}
