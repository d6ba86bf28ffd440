//! `fallline replay` of a config whose learning rates, momentum and weight decay follow schedules.

use std::path::{Path, PathBuf};

use crate::common::{Tensor, config, read, replay, scratch, write};
use safetensors::Dtype;

/// Gradients of two tensors for so many steps, with these learning rates of [optimizer] and a group.
fn trace(name: &str, steps: usize, lrs: &[[f32; 2]]) -> PathBuf {
    let values = |seed: usize| -> Vec<f32> {
        (0..40).map(|i| ((i * 7 + seed * 13) % 23) as f32 / 16.0 - 0.7).collect()
    };
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], values: &[f32]| {
        tensors.push(Tensor::new(&name, Dtype::F32, shape, values));
    };
    for (number, tensor) in ["a", "b"].into_iter().enumerate() {
        add(format!("param/{tensor}"), &[8, 5], &values(number));
        for t in 1..=steps {
            add(format!("grad/{t}/{tensor}"), &[8, 5], &values(2 * t + number));
        }
    }
    for (t, lrs) in (1..).zip(lrs) {
        add(format!("lr/{t}"), &[2], lrs);
    }
    write(name, &tensors, Default::default())
}

/// What a replay ends with.
fn result(trace: &Path, text: &str, more: &[&str]) -> Vec<Tensor> {
    let (config, out) = (config("case.toml", text), scratch("out.safetensors"));
    replay(trace, &config, &[&["--out", out.to_str().unwrap()], more].concat()).good();
    read(&out).0
}

const GROUPS: &str = "[optimizer]\nrule = 'adamw'\nlr = 0.25\n\
                      [[group]]\nnames = ['b']\nlr = 0.5\n";

#[test]
fn a_group_follows_a_schedule_of_its_own() {
    // The common one halves each rate every second step; the group's own falls from step to step by a tenth.
    let scheduled = format!(
        "{GROUPS}schedule = {{ kind = 'linear', start_factor = 1.0, end_factor = 0.5, total_iters = 4 }}\n\
         [schedule]\nkind = 'step'\nstep_size = 2\ngamma = 0.5\n"
    );
    let lrs = [[0.25, 0.5], [0.25, 0.4375], [0.125, 0.375], [0.125, 0.3125], [0.0625, 0.25]];
    let by_hand = trace("by hand.safetensors", 5, &lrs);
    let expected = result(&by_hand, GROUPS, &[]);
    let none = trace("none.safetensors", 5, &[]);
    assert_eq!(result(&none, &scheduled, &[]), expected);
    assert_ne!(result(&none, GROUPS, &[]), expected);
    // Rates of the trace are for groups without a schedule.
    let others = trace("others.safetensors", 5, &[[0.9, 0.9]; 5]);
    assert_eq!(result(&others, &scheduled, &[]), expected);
    let own = scheduled.split("[schedule]").next().unwrap();
    let base = lrs.map(|[base, _]| [base, 0.9]);
    let recorded = trace("recorded.safetensors", 5, &base);
    assert_eq!(result(&recorded, own, &[]), expected);
    // Off for the group, which stays where it is.
    let off = format!(
        "{GROUPS}schedule = false\n[schedule]\nkind = 'step'\nstep_size = 2\ngamma = 0.5\n"
    );
    let still = trace("still.safetensors", 5, &lrs.map(|[base, _]| [base, 0.5]));
    assert_eq!(result(&none, &off, &[]), result(&still, GROUPS, &[]));
}

#[test]
fn a_schedule_may_go_by_metrics() {
    let plateau = format!(
        "{GROUPS}[schedule]\nkind = 'reduce_on_plateau'\npatience = 0\nfactor = 0.5\nmetrics = [3.0, 2.0, 2.0]\n"
    );
    let lrs = [[0.25, 0.5], [0.25, 0.5], [0.25, 0.5], [0.125, 0.25], [0.125, 0.25]];
    let by_hand = result(&trace("by hand.safetensors", 5, &lrs), GROUPS, &[]);
    assert_eq!(result(&trace("none.safetensors", 5, &[]), &plateau, &[]), by_hand);
}

/// Step by step, each with the numbers of its step written into the config, from checkpoint to checkpoint.
#[test]
fn momentum_and_weight_decay_follow_schedules() {
    let moving = "[optimizer]\nrule = 'adamw'\nlr = 0.25\nweight_decay = 0.5\n\
                  [schedule]\nkind = 'cyclic'\nmax_lr = 0.75\nstep_size_up = 2\nbase_momentum = 0.5\nmax_momentum = 0.75\n\
                  [weight_decay_schedule]\nkind = 'exponential'\ngamma = 0.5\n\
                  [[group]]\nnames = ['b']\nrule = 'sgd'\nmomentum = 0.0\nweight_decay = 0.0\n\
                  schedule = { kind = 'cyclic', max_lr = 0.5, step_size_up = 4 , max_momentum = 0.875, base_momentum = 0.375 }\n";
    let by_hand = [
        (0.25, 0.75, 0.5, 0.25, 0.875),
        (0.5, 0.625, 0.25, 0.3125, 0.75),
        (0.75, 0.5, 0.125, 0.375, 0.625),
        (0.5, 0.625, 0.0625, 0.4375, 0.5),
    ];
    let mut expected = Vec::new();
    for (t, (lr, beta1, decay, own_lr, momentum)) in (1..).zip(by_hand) {
        let still = format!(
            "[optimizer]\nrule = 'adamw'\nlr = {lr:?}\nweight_decay = {decay:?}\nbetas = [{beta1:?}, 0.999]\n\
             [[group]]\nnames = ['b']\nrule = 'sgd'\nlr = {own_lr:?}\nmomentum = {momentum:?}\n"
        );
        let [before, after] = [t - 1, t].map(|t| scratch(&format!("{t}.safetensors")));
        let save = ["--save", after.to_str().unwrap()];
        let resume: &[&str] = if t == 1 { &[] } else { &["--resume", before.to_str().unwrap()] };
        let trace = trace(&format!("of {t}.safetensors"), t, &[]);
        expected = result(&trace, &still, &[&save, resume].concat());
    }
    let trace = trace("whole.safetensors", 4, &[]);
    assert_eq!(result(&trace, moving, &[]), expected);
    // Each of the three makes a difference.
    for (old, new) in [
        ("cyclic'\nmax_lr", "cyclic'\ncycle_momentum = false\nmax_lr"),
        ("'cyclic', max_lr", "'cyclic', cycle_momentum = false, max_lr"),
        ("gamma = 0.5", "gamma = 0.75"),
    ] {
        let other = moving.replace(old, new);
        assert_ne!(other, moving);
        assert_ne!(result(&trace, &other, &[]), expected, "{new}");
    }
    // From a checkpoint on, as from the beginning.
    let resumed = scratch("2.safetensors");
    assert_eq!(result(&trace, moving, &["--resume", resumed.to_str().unwrap()]), expected);
}

#[test]
fn what_is_wrong_with_a_schedule_is_named() {
    let trace = trace("trace.safetensors", 4, &[]);
    let says = |text: &str, expected: &str| {
        replay(&trace, &config("wrong.toml", text), &[]).refuses(expected);
    };
    let group = |text: &str| format!("{GROUPS}{text}\n");
    says(
        &group("[schedule]\nkind = 'cosin'"),
        "wrong.toml: [schedule]: kind 'cosin': unknown variant `cosin`",
    );
    says(
        &group("schedule = { kind = 'step' }"),
        "wrong.toml: [[group]] number 1: schedule: kind 'step': missing field `step_size`",
    );
    says(
        &group("schedule = true"),
        "[[group]] number 1: schedule must be a table, or false, found true",
    );
    says(
        &group("schedule = { kind = 'exponential', gamma = -1 }"),
        "[[group]] number 1: schedule: ",
    );
    says(
        &group("schedule = { kind = 'exponential', gamma = 0.5, base_lrs = [1] }"),
        "schedule: base_lrs has no meaning here",
    );
    says(&group("[schedule]\nkind = 'greedy'"), "[schedule]: metrics are missing, by which 'gree");
    says(
        "[optimizer]\nrule = 'sgd'\nschedule = false\n",
        "[optimizer]: schedule must be a table of the file, for all groups, or a key of a [[group]]",
    );
    says(
        "[optimizer]\nrule = 'rprop'\n[schedule]\nkind = 'step'\nstep_size = 1\n",
        "wrong.toml: the learning rate of rprop is fixed, so that there is nothing for [schedule]",
    );
    let cycle = "[schedule]\nkind = 'cyclic'\nmax_lr = 1.0\n";
    says(
        &format!("[optimizer]\nrule = 'adagrad'\n{cycle}"),
        "[schedule]: cyclic moves the momentum, and adagrad, the rule of optimizer, has none that moves: add cycle_momentum=false",
    );
    says(
        &format!("[optimizer]\nrule = 'sgd'\n{cycle}base_momentum = 0.0\nstep_size_up = 2"),
        "optimizer: sgd keeps a buffer for a momentum that is not 0, and in step 3 that comes or goes",
    );
    says(
        &format!("[optimizer]\nrule = 'adamw'\n{}", cycle.replace("[", "[weight_decay_")),
        "[weight_decay_schedule]: cyclic would move the momentum too: add cycle_momentum=false",
    );
    says(
        "[optimizer]\nrule = 'sgd'\n[weight_decay_schedule]\nkind = 'step'\nstep_size = 1\n",
        "its weight decay is 0, so that there is nothing for [weight_decay_schedule]",
    );
    says(
        &group("weight_decay = 0.0\nweight_decay_schedule = { kind = 'step', step_size = 1 }"),
        "[[group]] number 1: weight_decay_schedule: its weight decay is 0",
    );
    says(
        &group("[schedule]\nkind = 'one_cycle'\nmax_lr = [0.1, 0.2, 0.3]\ntotal_steps = 4"),
        "[schedule]: ",
    );
}
