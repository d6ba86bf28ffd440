//! `fallline train --config`, as a user runs it.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::common::{Ran, config, fallline, read, repository, scratch};

/// The file that the documentation points to.
const EXAMPLE: &str = "examples/train.toml";

fn train(options: &[&str]) -> Ran {
    fallline(&[&["train"], options].concat())
}

/// The result of a run; the file is named by the test.
fn result(options: &[&str]) -> Value {
    let json = scratch("result.json");
    train(&[options, &["--json", json.to_str().unwrap()]].concat()).good();
    let mut runs: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    runs.remove(0)
}

/// That of a file of this text, with flags beside it.
fn configured(text: &str, more: &[&str]) -> Value {
    result(&[&["--config", file(text).to_str().unwrap()], more].concat())
}

fn file(text: &str) -> PathBuf {
    config("run.toml", text)
}

#[test]
fn the_example_trains() {
    let json = scratch("example.json");
    let example = repository(EXAMPLE);
    let ran = train(&[
        "--config",
        example.to_str().unwrap(),
        "--epochs",
        "5",
        "--json",
        json.to_str().unwrap(),
    ])
    .good();
    for line in [
        "  optimizer: adamw, 2 tensors, lr 0.004 along one_cycle, weight decay along cosine_annealing\n",
        "  optimizer.no_decay: adamw, 2 tensors, lr 0.004 along one_cycle\n",
        "  [[group]] number 1: sgd, 2 tensors, lr 0.02 along step, an average of decay 0.99\n",
    ] {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
    let runs: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(runs[0]["config"]["group"][0]["schedule"]["kind"], "step");
    assert_eq!(runs[0]["precision"]["master"], "remainder");
    assert!(runs[0]["test_accuracy"].as_f64().unwrap() > 0.9, "{}", ran.out);
    assert!(runs[0]["average_test_accuracy"].is_f64());
}

#[test]
fn a_file_that_says_what_flags_say_is_the_same_run() {
    let size = "[train]\nhidden = 16\nepochs = 2\nseed = 3\n";
    let rule = "[optimizer]\nrule = 'adamw'\nlr = 4e-3\nweight_decay = 0.1\nno_decay = true\n";
    let flags = ["--hidden", "16", "--epochs", "2", "--seed", "3"];
    let plain = result(&flags);
    assert_eq!(configured(&format!("{size}{rule}"), &[])["losses"], plain["losses"]);

    let more = "param = 'bf16'\ngrad = 'f16'\nwarmup = 20\nbatch_size = 64\n";
    let around = "master = 'remainder'\nstate = 'bf16'\ncaution = true\nema_decay = 0.9\n\
                  [clip]\nnorm = 0.5\n[loss_scale]\ninit = 1024.0\n\
                  [schedule]\nkind = 'one_cycle'\nmax_lr = 0.01\n";
    let both = format!("{size}{more}{rule}{around}");
    let of_flags = [
        &flags[..],
        &["--param", "bf16", "--grad", "f16", "--warmup", "20", "--batch-size", "64"],
        &["--master", "remainder", "--state", "bf16", "--caution", "--ema-decay", "0.9"],
        &["--clip", "0.5", "--loss-scale", "dynamic:1024", "--schedule", "one_cycle,max_lr=0.01"],
    ]
    .concat();
    let expected = result(&of_flags);
    let found = configured(&both, &[]);
    for key in ["losses", "curve", "average_test_loss", "precision", "around", "warmup"] {
        assert_eq!(found[key], expected[key], "{key}");
    }

    // Flags beside a file that says something else.
    let other = "[train]\nhidden = 8\nepochs = 7\nseed = 9\nparam = 'f16'\nwarmup = 3\n\
                 [optimizer]\nrule = 'adamw'\nlr = 4e-3\nweight_decay = 0.1\nno_decay = true\n\
                 stochastic_rounding = true\nstate = 'int8'\nswa_start = 3\n\
                 [clip]\nnorm = 9.0\n[loss_scale]\ninit = 2.0\ninterval = 0\n\
                 [schedule]\nkind = 'step'\nstep_size = 3\n";
    let found = configured(other, &of_flags);
    assert_eq!(found["losses"], expected["losses"]);
}

/// Its clipping, warm-up and half cosine are there unless a file says something else.
#[test]
fn what_a_file_leaves_out_is_the_models() {
    let size = [
        ["--model", "gpt"],
        ["--n-layer", "1"],
        ["--n-head", "1"],
        ["--n-embd", "8"],
        ["--block-size", "8"],
        ["--steps", "6"],
        ["--sample", "0"],
    ];
    let flags = size.concat();
    let keys = "[train]\nmodel = 'gpt'\nn_layer = 1\nn_head = 1\nn_embd = 8\nblock_size = 8\nsteps = 6\nsample = 0\n";
    let plain = result(&flags);
    let lr = plain["lr"].as_f64().unwrap();
    let decay = "weight_decay = 0.1\nno_decay = ['w?e.weight']";
    let rule = format!("[optimizer]\nrule = 'adamw'\nlr = {lr:?}\n{decay}\n");
    let same = configured(&format!("{keys}{rule}"), &[]);
    assert_eq!(same["losses"], plain["losses"]);
    assert_eq!(same["precision"]["clip"], "1");
    let unclipped = configured(&format!("{keys}{rule}[clip]\n"), &[]);
    assert_eq!(unclipped["precision"]["clip"], "none");
    let constant = "[schedule]\nkind = 'constant'\nfactor = 1.0\n";
    let constant = configured(&format!("{keys}{rule}{constant}"), &[]);
    assert_ne!(constant["losses"], plain["losses"]);
}

#[test]
fn a_learning_rate_beside_a_file_keeps_ratios() {
    let text = |lr: f64, own: f64| {
        format!(
            "[train]\nhidden = 16\nepochs = 1\n[optimizer]\nrule = 'sgd'\nlr = {lr}\n\
             [[group]]\ntensors = ['0.*']\nlr = {own}\n[[group]]\ntensors = ['1.*']\nmomentum = 0.5\n"
        )
    };
    let (scaled, written) =
        (configured(&text(0.25, 0.5), &["--lr", "0.0625"]), text(0.0625, 0.125));
    assert_eq!(scaled["losses"], configured(&written, &[])["losses"]);
    assert_eq!(scaled["lr"], 0.0625);
    train(&["--config", file(&text(0.0, 0.5)).to_str().unwrap(), "--lr", "1"]).refuses(
        "run.toml: [[group]] number 1: its lr 0.5 has no ratio to that of [optimizer], which is 0, for --lr",
    );
}

#[test]
fn groups_follow_their_schedules_and_stand_still() {
    let text = "[train]\nhidden = 16\nepochs = 2\nwarmup = 10\n\
                [optimizer]\nrule = 'adamw'\nlr = 0.01\n\
                [schedule]\nkind = 'constant'\nfactor = 1.0\n\
                [[group]]\ntensors = ['0.*']\nlr = 0.02\n\
                schedule = { kind = 'step', step_size = 30, gamma = 0.5 }\n\
                [[group]]\ntensors = ['1.*']\nlr = 0.03\nschedule = false\n\
                [[group]]\ntensors = ['2.bias']\nfrozen = { from_step = 31, to_step = 60 }\n";
    let [log, checkpoints] = ["log.jsonl", "checkpoints"].map(scratch);
    let _ = fs::remove_dir_all(&checkpoints);
    let [log_name, folder] = [&log, &checkpoints].map(|path| path.to_str().unwrap());
    let logs = ["--log", log_name, "--log-every", "1"];
    let saves = ["--checkpoint-every", "30", "--checkpoints", folder];
    let run = file(text);
    train(&[&["--config", run.to_str().unwrap()], &logs[..], &saves].concat()).good();
    let records = fs::read_to_string(log).unwrap();
    let mut steps = 0;
    for line in records.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let step = record["step"].as_f64().unwrap();
        let lr = |group: usize| record["groups"][group]["lr"].as_f64().unwrap();
        let warmup = (step / 10.0).min(1.0);
        let own = 0.02 * 0.5f64.powf(((step - 1.0) / 30.0).floor());
        let expected = [0.01 * warmup, own * warmup, 0.03, 0.01 * warmup];
        for (group, expected) in expected.into_iter().enumerate() {
            // The frozen group takes no step, and so has no learning rate in it.
            if group != 3 || !(31.0..=60.0).contains(&step) {
                assert!((lr(group) / expected - 1.0).abs() < 1e-6, "{group}: {line}");
            }
        }
        steps += 1;
    }
    assert!(steps > 80, "{steps}");
    let bias = |step: u32| {
        let tensors = read(&checkpoints.join(format!("checkpoint-{step}.safetensors"))).0;
        let param = tensors.into_iter().find(|tensor| tensor.name.ends_with("param/2.bias"));
        param.expect("it is saved").bytes
    };
    assert_eq!(bias(30), bias(60));
    assert_ne!(bias(60), bias(90));
}

#[test]
fn what_is_wrong_is_named() {
    const RULE: &str = "[optimizer]\nrule = 'adamw'\n";
    let says = |text: &str, more: &[&str], expected: &str| {
        let run = file(text);
        train(&[&["--config", run.to_str().unwrap()], more].concat()).refuses(expected);
    };
    let cases = [
        (
            "[tables]\nepochs = 1",
            "run.toml: unknown key 'tables', expected one of train, optimizer, gr",
        ),
        (
            "[train]\nepoch = 1",
            "run.toml: [train]: unknown key 'epoch', expected one of model, batch",
        ),
        (
            "[train]\nepochs = 'two'",
            "run.toml: [train]: invalid type: string \"two\", expected u32: in `epochs`",
        ),
        ("[train]\nepochs = 0", "run.toml: [train]: epochs must be at least 1, found 0"),
        ("[train]\nsteps = 9", "run.toml: [train]: steps is an option of model gpt"),
        (
            "[train]\nbatch_size = 1.5",
            "[train]: expected a number, or \"all\", found 1.5: in `batch_size`",
        ),
        (
            "[train]\nmodel = 'gtp'",
            "[train]: unknown variant `gtp`, expected `perceptron` or `gpt`",
        ),
        (
            "[train]\nparam = 'f8'",
            "[train]: a number format must be \"f32\", \"f16\" or \"bf16\", found",
        ),
        ("betas = [0.9, 1.5]", "[optimizer]: rule 'adamw': betas[1] must be in [0, 1), found 1.5"),
        (
            "master = 'remainder'",
            "optimizer: parameters with a 16-bit remainder must be in bf16, f",
        ),
        (
            "[[group]]\nnames = ['2.wheat']",
            "run.toml: no tensor matches the name '2.wheat' of group '[[group]] number 1'",
        ),
        (
            "[[group]]\nnames = ['0.weight']\nrule = 'adagrad'\n\
             schedule = { kind = 'one_cycle', max_lr = 0.1 }",
            "run.toml: [[group]] number 1: schedule: one_cycle moves the momentum, and adagrad, the",
        ),
        (
            "[schedule]\nkind = 'greedy'\nmetrics = [1.0]",
            "[schedule]: metrics has no meaning for train: it is the test losses",
        ),
        (
            "[schedule]\nkind = 'step'",
            "run.toml: [schedule]: kind 'step': missing field `step_size`",
        ),
        ("clip = 1.0", "[optimizer]: rule 'adamw': unknown field `clip`"),
    ];
    for (text, expected) in cases {
        says(&format!("{RULE}{text}\n"), &["--adapter", "none"], expected);
    }
    // What needs a device to be found.
    says(
        &format!("{RULE}[[group]]\nnames = ['0.weight']\nrule = 'sgd'\ncautious_decay = true\n"),
        &[],
        "run.toml: group '[[group]] number 1' cannot have cautious_decay: its rule has no decoupled",
    );
    says("[train]\nepochs = 1\n", &[], "run.toml: the table [optimizer] is missing");
    says("[optimizer]\nlr = 1.0\n", &[], "run.toml: [optimizer] must name its rule");
    says("[optimizer", &[], "run.toml: TOML parse error at line 1, column 11: ");
    says(
        "[train]\nwarmup = 5\n[optimizer]\nrule = 'rprop'\n",
        &[],
        "run.toml: the learning rate of rprop is fixed, so that there is nothing for a warm-up",
    );
    // Flags have their own faults, and some have none without the file.
    says(
        &format!("{RULE}[train]\nhidden = 8\n"),
        &["--hidden", "6"],
        "fallline: --hidden must be ",
    );
    says(RULE, &["--schedule", "cosin"], "fallline: --schedule cosin: kind 'cosin': unknown");
    says(
        RULE,
        &["--schedule", "exponential,gamma=-1"],
        "--schedule: schedule 'exponential': gamma",
    );
    says(
        &format!("{RULE}[train]\nepochs = 3\n"),
        &["--model", "gpt"],
        "run.toml with the flags beside it: --epochs is an option of --model perceptron",
    );
    train(&["--config", "nowhere.toml"]).refuses("cannot read nowhere.toml: ");
    let run = file(RULE);
    let name = run.to_str().unwrap();
    train(&["--config", name, "--json", name]).refuses("is given for input and output");
    for option in [["--rule", "lion"], ["--compare", "lion,sgd"]] {
        let ran = train(&[&["--config", name], &option[..]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("cannot be used with"), "{ran:?}");
    }
}
