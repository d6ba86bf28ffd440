//! `fallline train`, as a user runs it.

use std::fs;

use serde_json::Value;

use crate::common::{Ran, fallline, scratch, unread};

/// A short run whose files all have this stem.
fn train(stem: &str, more: &[&str]) -> Ran {
    let paths = ["svg", "csv", "json"].map(|end| scratch(&format!("{stem}.{end}")));
    let [svg, csv, json] = paths.each_ref().map(|path| path.to_str().unwrap());
    let mut arguments = vec!["train", "--svg", svg, "--csv", csv, "--json", json];
    for (option, value) in [("--epochs", "3"), ("--hidden", "16")] {
        if !more.contains(&option) {
            arguments.extend([option, value]);
        }
    }
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
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 3 * 45);
    let header = ["rule", "step", "loss", "epoch", "train_loss", "test_loss", "test_accuracy"];
    assert_eq!(rows[0], header);
    assert_eq!((&rows[1][..2], &rows[1][3..]), (&["adamw", "1"][..], &[""; 4][..]));
    assert_eq!((rows[90][1], rows[90][3]), ("90", "2"));
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
    let losses = run["losses"].as_array().unwrap();
    for (row, loss) in rows[1..].iter().zip(losses) {
        assert_eq!(row[2].parse::<f64>().unwrap(), loss.as_f64().unwrap(), "{row:?}");
    }
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
    assert_eq!(csv.lines().count(), 1 + 3 * 3 * 45);
    for rule in rules {
        assert!(svg.contains(&format!("{rule}: ")), "{rule}");
        assert!(csv.contains(&format!("\n{rule},135,")), "{rule}");
    }
}

#[test]
fn rprop_learns_from_all_images_at_once() {
    let all = ["--rule", "rprop", "--batch", "all", "--hidden", "64", "--epochs", "60"];
    train("all", &all).good();
    let run = &runs("all.json")[0];
    assert_eq!(run["steps"].as_u64(), Some(60));
    assert!(run["test_accuracy"].as_f64().unwrap() > 0.97, "{run}");
}

const BF16: [&str; 6] = ["--param", "bf16", "--master", "remainder", "--loss-scale", "dynamic"];

#[test]
fn fewer_bits_are_as_good_as_f32() {
    let loss = |options: &[&str]| {
        let size = ["--hidden", "64", "--epochs", "6"];
        train("fewer", &[&size, options].concat()).good();
        let run = &runs("fewer.json")[0];
        assert!(run["test_accuracy"].as_f64().unwrap() > 0.95, "{options:?}: {run}");
        run["test_loss"].as_f64().unwrap()
    };
    let exact = loss(&[]);
    // Over the seeds 0 to 5 no more than 2.2 % lay between them, and with four bits 24 %.
    let seven = ["--param", "bf16", "--master", "remainder8", "--state", "companded"];
    let options: [(&[&str], f64); 5] = [
        (&BF16, 0.05),
        (&["--state", "int8"], 0.05),
        (&["--state", "fp8"], 0.05),
        (&["--state", "int4"], 0.3),
        (&seven, 0.05),
    ];
    for (options, most) in options {
        let apart = loss(options) / exact - 1.0;
        assert!(apart.abs() <= most, "{options:?}: {apart} apart");
    }
    let run = &runs("fewer.json")[0];
    assert_eq!(
        (&run["precision"]["master"], &run["precision"]["state"]),
        (&"remainder8".into(), &"companded".into())
    );
    assert_eq!(run["skipped"], Value::Null);
}

#[test]
fn adafactor_and_prodigy_need_no_learning_rate() {
    for rule in ["adafactor", "prodigy"] {
        let accuracy = |seed: &str| {
            let size = ["--hidden", "64", "--epochs", "15", "--seed", seed];
            train(rule, &[&["--rule", rule], &size[..]].concat()).good();
            runs(&format!("{rule}.json"))[0]["test_accuracy"].as_f64().unwrap()
        };
        // An image or two of 360 more or less are chance, 0.3 points each.
        let mean = f64::midpoint(accuracy("0"), accuracy("1"));
        assert!(mean > 0.97, "{rule}: {mean}");
    }
    // The header is as wide as the name.
    let ran = train("wide", &["--compare", "adafactor,sgd"]).good();
    assert!(ran.out.contains("\nrule       epoch  train loss  "), "{}", ran.out);
    assert!(ran.out.contains("\nadafactor      1  "), "{}", ran.out);
    assert!(ran.out.contains("\nsgd            1  "), "{}", ran.out);
}

#[test]
fn an_average_is_tested_at_the_end() {
    let of = |more: &[&str]| {
        let ran = train("average", more).good();
        (ran.out, runs("average.json").remove(0))
    };
    let (out, plain) = of(&[]);
    assert!(
        !out.contains("with the average") && plain.get("average_test_accuracy").is_none(),
        "{out}"
    );
    assert_eq!(plain["around"]["ema_decay"], Value::Null);

    // An average without memory is the parameter.
    let (out, last) = of(&["--ema-decay", "0"]);
    assert_eq!(last["average_test_accuracy"], last["test_accuracy"]);
    assert_eq!(last["curve"], plain["curve"]);
    assert!(out.contains("\nAround the rule: an average of decay 0\n"), "{out}");
    let percent = 100.0 * last["test_accuracy"].as_f64().unwrap();
    let both = format!("{percent:.2} % test accuracy ({percent:.2} % with the average) after 3 ");
    assert!(out.contains(&both), "{out}");

    // One that never forgets is the beginning, after its first step.
    let (_, first) = of(&["--ema-decay", "1"]);
    assert!(first["average_test_accuracy"].as_f64().unwrap() < 0.4, "{first}");
    let (_, in_16_bits) = of(&[&BF16[..], &["--ema-decay", "0.9"]].concat());
    assert!(in_16_bits["average_test_accuracy"].as_f64().unwrap() > 0.5, "{in_16_bits}");
}

#[test]
fn lookahead_comes_after_the_rule() {
    let curve = |more: &[&str]| {
        train("lookahead", more).good();
        runs("lookahead.json").remove(0)["curve"].clone()
    };
    let plain = curve(&[]);
    // Slow weights that follow at once and wholly are the fast ones.
    assert_eq!(curve(&["--lookahead-k", "1", "--lookahead-alpha", "1"]), plain);
    let default = curve(&["--lookahead-k", "5"]);
    assert_ne!(default, plain);
    assert_eq!(curve(&["--lookahead-alpha", "0.5"]), default);
    assert!(text("lookahead.svg").contains("lookahead with k 5 and alpha 0.5"));
}

#[test]
fn a_loss_scale_counts_what_it_skips() {
    train("scaled", &BF16).good();
    let run = &runs("scaled.json")[0];
    assert_eq!((&run["precision"]["master"], &run["skipped"]), (&"remainder".into(), &0.into()));
}

#[test]
fn what_is_measured_is_shown() {
    // 2^24 times the gradients of a beginning is beyond f16; halved some times it is not.
    let scale = ["--param", "f16", "--master", "f32", "--loss-scale", "dynamic:16777216"];
    let ran = train("skipped", &[&scale[..], &["--clip", "1"]].concat()).good();
    let columns = "test accuracy  loss scale  skipped       norm\n";
    assert!(ran.out.contains(columns), "{}", ran.out);
    let precision = "Precision: parameters f16 with an f32 master copy, gradients f16, \
                     loss scale dynamic:16777216, clipped to norm 1\n";
    assert!(ran.out.contains(precision), "{}", ran.out);

    let run = &runs("skipped.json")[0];
    let (skipped, steps) = (run["skipped"].as_u64().unwrap(), run["steps"].as_u64().unwrap());
    assert!((1..20).contains(&skipped) && steps == 135, "{run}");
    assert!(ran.out.contains(&format!(" s, {skipped} of 135 steps skipped\n")), "{}", ran.out);
    let first = &run["curve"][0];
    assert_eq!(first["skipped"].as_u64(), Some(skipped), "only the beginning overflows");
    let scale = first["loss_scale"].as_f64().unwrap();
    assert_eq!(scale.log2(), 24.0 - skipped as f64, "each skipped step halves the scale");
    assert!((0.1..10.0).contains(&first["norm"].as_f64().unwrap()), "{run}");
    let csv = text("skipped.csv");
    let header = "rule,step,loss,epoch,train_loss,test_loss,test_accuracy,loss_scale,skipped,norm";
    assert_eq!(csv.lines().next(), Some(header));
    assert!(csv.lines().nth(45).unwrap().contains(&format!(",{scale},{skipped},")), "{csv}");
    assert!(text("skipped.svg").contains("loss scale dynamic:16777216"));
}

#[test]
fn no_report_is_lost() {
    // More steps in an epoch than the GPU remembers, none of which can be taken.
    let overflow = ["--param", "f16", "--loss-scale", "1e36", "--batch-size", "1"];
    let ran = train("lost", &[&overflow[..], &["--epochs", "1", "--hidden", "4"]].concat());
    assert!(ran.out.contains(", 1437 of 1437 steps skipped\n"), "{ran:?}");
    let hint = "adamw skipped every step: try a smaller --loss-scale than 1e36";
    assert!(ran.err.contains(hint), "{ran:?}");
}

#[test]
fn measuring_and_scaling_change_nothing_in_f32() {
    let curve = |stem: &str, more: &[&str]| {
        train(stem, more).good();
        let csv = text(&format!("{stem}.csv"));
        let columns = |line: &str| line.split(',').take(7).collect::<Vec<_>>().join(",");
        csv.lines().map(columns).collect::<Vec<_>>()
    };
    // A power of two is multiplied and divided by exactly.
    let measured = curve("measured", &["--loss-scale", "1024", "--clip", "inf"]);
    assert_eq!(measured, curve("unmeasured", &[]));
}

#[test]
fn stochastic_rounding_has_a_seed() {
    let curve = |seed, more: &[&str]| {
        let bf16 = ["--param", "bf16", "--grad", "f32", "--seed", seed];
        train("chance", &[&bf16[..], more].concat()).good();
        text("chance.csv")
    };
    let chance = ["--stochastic-rounding"];
    let first = curve("3", &chance);
    assert_eq!(first, curve("3", &chance));
    assert_ne!(first, curve("4", &chance));
    assert_ne!(first, curve("3", &[]));
}

#[test]
fn every_rule_trains_in_16_bits() {
    let ran = train(
        "rules",
        &[&["--compare", "adamw,adam,sgd,lion,adafactor,prodigy"], &BF16[..]].concat(),
    )
    .good();
    let runs = runs("rules.json");
    assert_eq!(runs.len(), 6);
    for run in runs {
        let loss = |epoch: usize| run["curve"][epoch]["train_loss"].as_f64().unwrap();
        assert!(loss(2) < loss(0), "{}", ran.out);
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
        (
            ["--batch", "some"],
            "--batch-size must be 1 to 1437 (the images to train with) or all, found some",
        ),
        (["--hidden", "6"], "--hidden must be a multiple of 4 from 4 to 4096, found 6"),
        (["--compare", "sgd,sgd"], "--compare names sgd twice"),
    ] {
        fallline(&[&["train"], &more[..]].concat()).refuses(expected);
    }
    for (more, expected) in [
        (
            &["--master", "remainder"][..],
            "--master remainder needs --param bf16, found --param f32",
        ),
        (
            &["--master", "remainder", "--param", "f16"],
            "--master remainder needs --param bf16, found --param f16",
        ),
        (&["--master", "f32"], "--master f32 needs --param f16 or bf16, found --param f32"),
        (
            &["--stochastic-rounding"],
            "--stochastic-rounding needs --param f16 or bf16, found --param f32",
        ),
    ] {
        fallline(&[&["train"], more].concat()).refuses(expected);
    }
    for (option, value, expected) in [
        ("--param", "f8", "f32, f16, bf16"),
        ("--grad", "f64", "f32, f16, bf16"),
        ("--master", "bf16", "none, f32, remainder"),
        ("--loss-scale", "-1", "must be none, dynamic, dynamic:NUMBER or a NUMBER"),
        ("--loss-scale", "dynamic:0", "must be none, dynamic, dynamic:NUMBER or a NUMBER"),
        ("--clip", "-1", "must be a positive number that f32 can hold, or inf"),
        ("--clip", "nan", "must be a positive number that f32 can hold, or inf"),
        ("--lookahead-k", "0", "must be a whole number from 1 to 4294967295"),
        ("--lookahead-alpha", "1.5", "must be a number from 0 to 1"),
        ("--ema-decay", "nan", "must be a number from 0 to 1"),
    ] {
        let ran = fallline(&["train", option, value]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let said = format!("invalid value '{value}' for '{option} <");
        assert!(ran.err.contains(&said) && ran.err.contains(expected), "{ran:?}");
    }
    let both = ["train", "--param", "bf16", "--stochastic-rounding", "--master", "f32"];
    assert_eq!(fallline(&both).code, Some(2));
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
    let folder = scratch("");
    fallline(&["train", "--svg", folder.to_str().unwrap()]).says("it is a directory");
    fallline(&["train", "--svg", "same", "--json", "same"])
        .refuses("same is given for two outputs");
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
    assert_eq!(text("pipe.csv").lines().count(), 1 + 2 * 45);
}
