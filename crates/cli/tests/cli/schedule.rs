//! `fallline schedule`.

use std::{fs, path::Path};

use crate::common::{Ran, config, fallline, golden, scratch};

/// Runs a schedule for some steps, and gives what it wrote.
fn csv(text: &str, steps: u32) -> String {
    let (config, csv) = (config("case.toml", text), scratch("case.csv"));
    schedule(&config, steps, &["--csv", csv.to_str().unwrap()]).good();
    fs::read_to_string(csv).unwrap()
}

fn schedule(config: &Path, steps: u32, more: &[&str]) -> Ran {
    let steps = steps.to_string();
    let arguments = ["schedule", "--config", config.to_str().unwrap(), "--steps", &steps];
    fallline(&[&arguments, more].concat())
}

#[test]
fn a_row_is_what_a_step_takes() {
    let text = "[schedule]\nkind = \"step\"\nstep_size = 2\ngamma = 0.5\nbase_lrs = [0.1, 0.02]\n";
    assert_eq!(csv(text, 3), "step,lr0,lr1\n0,0.1,0.02\n1,0.1,0.02\n2,0.05,0.01\n");
    // Also before the table.
    let text = "base_lrs = [0.1]\n[schedule]\nkind = \"exponential\"\ngamma = 1e-4\n";
    assert_eq!(csv(text, 3), "step,lr0\n0,0.1\n1,1e-5\n2,1e-9\n");
}

#[test]
fn momentum_has_columns_where_it_moves() {
    let cycle = r#"
        base_lrs = [0.25, 0.25]
        [schedule]
        kind = "cyclic"
        max_lr = [0.75, 1.25]
        step_size_up = 2
        base_momentum = 0.5
        max_momentum = 0.75
    "#;
    let head = "step,lr0,lr1,momentum0,momentum1";
    let rows = "0,0.25,0.25,0.75,0.75\n1,0.5,0.75,0.625,0.625";
    assert_eq!(csv(cycle, 2), format!("{head}\n{rows}\n"));
    let still = format!("{cycle}cycle_momentum = false\n");
    assert_eq!(csv(&still, 1), "step,lr0,lr1\n0,0.25,0.25\n");
}

#[test]
fn sequences_and_chains_are_tables_in_tables() {
    let text = r#"
        [schedule]
        kind = "sequential"
        milestones = [2]
        base_lrs = [1.0]
        [[schedule.schedulers]]
        kind = "linear"
        start_factor = 0.5
        total_iters = 2
        [[schedule.schedulers]]
        kind = "chained"
        [[schedule.schedulers.schedulers]]
        kind = "exponential"
        gamma = 0.5
        [[schedule.schedulers.schedulers]]
        kind = "constant"
        factor = 0.25
        total_iters = 1
    "#;
    assert_eq!(csv(text, 5), "step,lr0\n0,0.5\n1,0.75\n2,0.25\n3,0.5\n4,0.25\n");
}

#[test]
fn metrics_come_after_their_steps() {
    let plateau = "kind = \"reduce_on_plateau\"\npatience = 0\nfactor = 0.5\nbase_lrs = [1.0]\n";
    let text = format!("[schedule]\n{plateau}metrics = [3.0, 2.0, 2.0, nan]\n");
    // The third is no better, and shows in the step after it; the fourth is none at all.
    assert_eq!(csv(&text, 6), "step,lr0\n0,1.0\n1,1.0\n2,1.0\n3,0.5\n4,0.25\n5,0.25\n");
    let greedy = "kind = \"greedy\"\npatience = 0\nfactor = 0.5\nbase_lrs = [0.25]\n";
    let text = format!("[schedule]\n{greedy}metrics = [3, 2, 4]\n");
    assert_eq!(csv(&text, 4), "step,lr0\n0,0.25\n1,0.5\n2,1.0\n3,0.5\n");
}

/// As `tools/record_schedules.py` compares them.
#[test]
fn tables_have_the_rates_of_torch() {
    let tables = fs::read_to_string(golden("schedules.json")).unwrap();
    let tables: serde_json::Value = serde_json::from_str(&tables).unwrap();
    let case = |name: &str| {
        tables["cases"]
            .as_array()
            .unwrap()
            .iter()
            .find(|case| case["name"] == name)
            .unwrap()
            .clone()
    };
    let text = r#"
        base_lrs = [0.1, 0.003]
        [schedule]
        kind = "cosine_annealing"
        T_max = 1000
        eta_min = 1e-4
    "#;
    let text = csv(text, 10_000);
    let rows: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 10_000);
    let case = case("cosine_annealing");
    for (t, lrs) in case["t"].as_array().unwrap().iter().zip(case["lr"].as_array().unwrap()) {
        let t = usize::try_from(t.as_u64().unwrap()).unwrap();
        let row: Vec<f64> = rows[t].split(',').map(|cell| cell.parse().unwrap()).collect();
        for (found, expected) in row[1..].iter().zip(lrs.as_array().unwrap()) {
            assert!((found - expected.as_f64().unwrap()).abs() <= 1e-13, "step {t}: {}", rows[t]);
        }
    }
}

#[test]
fn the_corners_are_printed() {
    let config = config(
        "wsd.toml",
        "[schedule]\nkind = \"wsd\"\nnum_warmup_steps = 10\nnum_decay_steps = 20\nnum_stable_steps = 70\nbase_lrs = [0.5]\n",
    );
    let ran = schedule(&config, 101, &[]).good();
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected =
        ["wsd", "wsd_schedule", "0", "0.0000e0", "5.0000e-1", "10", "0.0000e0", "0", "0.0000e0"];
    assert_eq!(lines[1], expected, "{}", ran.out);
}

#[test]
fn pictures_have_a_line_for_each_group_and_file() {
    let cosine = config(
        "cosine.toml",
        "[schedule]\nkind = \"cosine\"\nnum_training_steps = 100\nbase_lrs = [0.1]\n",
    );
    let cycle = config(
        "cycle.toml",
        "[schedule]\nkind = \"one_cycle\"\nmax_lr = [0.3, 0.2]\ntotal_steps = 100\nbase_lrs = [0.1, 0.1]\n",
    );
    let svg = scratch("one.svg");
    schedule(&cosine, 100, &["-o", svg.to_str().unwrap()]).good();
    let text = fs::read_to_string(&svg).unwrap();
    assert!(text.starts_with("<svg") && text.contains("learning rate"), "{text}");
    assert!(!text.contains("momentum") && !text.contains("group 0"), "{text}");
    let both = format!("{},{}", cosine.display(), cycle.display());
    fallline(&["schedule", "--compare", &both, "--steps", "100", "-o", svg.to_str().unwrap()])
        .good();
    let text = fs::read_to_string(&svg).unwrap();
    for word in ["learning rate", "momentum", "cosine", "cycle, group 0", "cycle, group 1", "step"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn what_is_wrong_is_told_by_file_and_key() {
    for (text, expected) in [
        ("", "the table [schedule] is missing"),
        ("schedule = 3", "schedule must be a table, found integer"),
        ("[schedule]\nbase_lrs = [0.1]", "[schedule]: kind is missing"),
        ("[schedule]\nkind = 3", "[schedule]: kind must be a string, found integer"),
        (
            "[schedule]\nkind = \"cosin\"",
            "[schedule]: kind 'cosin': unknown variant `cosin`, expected one of `step`, ",
        ),
        ("[schedule]\nkind = \"step\"\nbase_lrs = [0.1]", "kind 'step': missing field `step_size`"),
        (
            "[schedule]\nkind = \"step\"\nstep_size = 1",
            "base_lrs is missing, a learning rate for each group",
        ),
        (
            "[schedule]\nkind = \"step\"\nstep_size = \"1\"\nbase_lrs = [0.1]",
            "kind 'step': invalid type: string \"1\", expected u64: in `step_size`",
        ),
        (
            "[schedule]\nkind = \"step\"\nsteps_size = 1\nbase_lrs = [0.1]",
            "kind 'step': unknown field `steps_size`, expected `step_size` or `gamma`",
        ),
        (
            "[schedule]\nkind = \"step\"\nstep_size = 0\nbase_lrs = [0.1]",
            "schedule 'step': step_size must be >= 1, found 0",
        ),
        (
            "[schedule]\nkind = \"step\"\nstep_size = 1\nbase_lrs = []",
            "schedule 'step': base_lrs must be one for each group, found none",
        ),
        (
            "[schedule]\nkind = \"step\"\nstep_size = 1\nbase_lrs = [0.1, -0.5]",
            "schedule 'step': base_lrs[1] must be finite and >= 0, found -0.5",
        ),
        (
            "[schedule]\nkind = \"step\"\nstep_size = 1\nbase_lrs = [0.1]\nmetrics = [1.0]",
            "'step' goes by steps alone, and takes no metrics",
        ),
        (
            "[schedule]\nkind = \"plateau\"\nbase_lrs = [0.1]",
            "metrics are missing, by which 'reduce_on_plateau' goes",
        ),
        (
            "base_lrs = [0.1]\n[schedule]\nkind = \"step\"\nstep_size = 1\nbase_lrs = [0.1]",
            "base_lrs stands in [schedule] and before it",
        ),
        (
            "[optimizer]\n[schedule]\nkind = \"step\"",
            "unknown key 'optimizer', expected [schedule], base_lrs or metrics",
        ),
        (
            "[schedule]\nkind = \"chained\"\nbase_lrs = [0.1]\n[[schedule.schedulers]]\nkind = \"linear\"\n\
             [[schedule.schedulers]]\nkind = \"step\"\nsteps_size = 3",
            "schedulers[1]: kind 'step': unknown field `steps_size`",
        ),
        (
            "[schedule]\nkind = \"chained\"\nbase_lrs = [0.1]\nschedulers = [3]",
            "schedulers[0] must be a table, found integer",
        ),
        (
            "[schedule]\nkind = \"sequential\"\nmilestones = [1, 2]\nbase_lrs = [0.1]\n\
             [[schedule.schedulers]]\nkind = \"linear\"",
            "milestones must be one fewer than schedulers, 0, found 2",
        ),
        ("[schedule]\nkind = ", "TOML parse error at line 2"),
    ] {
        let config = config("wrong.toml", text);
        let ran = schedule(&config, 10, &[]);
        assert!(ran.err.contains("wrong.toml: "), "{ran:?}");
        ran.refuses(expected);
    }
    schedule(Path::new("missing.toml"), 10, &[]).refuses("missing.toml: cannot read it: ");
    let good = config("good.toml", "[schedule]\nkind = \"linear\"\nbase_lrs = [0.1]");
    schedule(&good, 0, &[]).refuses("--steps must be at least 1, found 0");
    let good = good.to_str().unwrap();
    let ran = fallline(&["schedule", "--compare", good, "--steps", "1", "--csv", "x.csv"]);
    assert!(ran.code == Some(2) && ran.err.contains("--csv"), "{ran:?}");
    assert_eq!(fallline(&["schedule", "--steps", "1"]).code, Some(2));
}
