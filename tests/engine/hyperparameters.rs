//! Hyperparameters and learning rates that change from step to step.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Error, Gpu, Group, Lion, NAdam, Optimizer, RULE_NAMES,
    Rprop, Rule, Sgd, Step, TensorId, TensorSpec, deserialize_rule, rule_by_name,
    schedule::{Exponential, OneCycle, Schedule, Scheduler},
    serialize_rule, wgpu,
};
use serde_json::Value;

use crate::common::{self, bits, buffer, cases, gpu, specs, submit, write_grads};

const ID: TensorId = TensorId::new(0);

fn arena(groups: &[Group]) -> Optimizer {
    let mut specs = specs(&[300; 2]);
    specs[1].group = Some(groups.last().unwrap().name.clone());
    let optimizer = Optimizer::arena(&gpu(), groups, &specs).unwrap();
    let values = |scale: f32| (0..300).map(|i| scale * (i as f32 - 150.5)).collect::<Vec<f32>>();
    for id in [ID, TensorId::new(1)] {
        optimizer.write_param(id, &values(0.01)).unwrap();
        optimizer.write_grad(id, &values(-0.003)).unwrap();
    }
    optimizer
}

fn params(optimizer: &Optimizer) -> [Vec<u32>; 2] {
    [0, 1].map(|index| bits(&optimizer.read_param(TensorId::new(index)).unwrap()))
}

/// A step with other hyperparameters is that of an optimizer that always had them.
#[test]
fn every_rule_takes_other_hyperparameters_between_two_steps() {
    for case in cases() {
        let group = |case: &common::Case| [Group::new("all", case.rule.clone())];
        let mut changed = arena(&group(&case));
        let etas = serde_json::json!([0.7, 1.9]);
        let other = case.with("weight_decay", 0.3).with("lr", 0.02).with("eps", 0.1);
        let other = other.with("etas", etas);
        let mut always = arena(&group(&other));
        changed.set_rule("all", other.rule.clone()).unwrap();
        changed.step(&Step::new()).unwrap();
        always.step(&Step::new()).unwrap();
        assert_eq!(params(&changed), params(&always), "{:?}", case.rule);
        // It stays so.
        changed.step(&Step::new()).unwrap();
        always.step(&Step::new()).unwrap();
        assert_eq!(params(&changed), params(&always), "{:?}", case.rule);
        // And goes back.
        let before = params(&changed);
        changed.set_rule("all", case.rule.clone()).unwrap();
        changed.step(&Step::new()).unwrap();
        always.step(&Step::new()).unwrap();
        assert_ne!(params(&changed), before);
        assert_ne!(params(&changed), params(&always), "{:?}", case.rule);
    }
}

/// Two groups with one kernel, whose constants were the same when it was compiled.
#[test]
fn one_group_of_a_kernel_may_come_to_differ() {
    let rule = |beta2| AdamW::new().lr(0.01).betas((0.9, beta2));
    let groups = |first, second| [Group::new("a", rule(first)), Group::new("b", rule(second))];
    let mut changed = arena(&groups(0.99, 0.99));
    let mut always = arena(&groups(0.99, 0.5));
    changed.set_rule("b", rule(0.5)).unwrap();
    for _ in 0..3 {
        changed.step(&Step::new()).unwrap();
        always.step(&Step::new()).unwrap();
    }
    assert_eq!(params(&changed), params(&always));
    changed.set_rule("b", rule(0.99)).unwrap();
    always.set_rule("b", rule(0.99)).unwrap();
    changed.step(&Step::new()).unwrap();
    always.step(&Step::new()).unwrap();
    assert_eq!(params(&changed), params(&always));
}

fn borrowed(gpu: &Gpu, groups: &[Group]) -> (Optimizer, wgpu::Buffer) {
    let memory = buffer(gpu, &[0.25; 4096], wgpu::BufferUsages::STORAGE);
    let tensor = |index: u64| BorrowedTensor {
        spec: TensorSpec::new(format!("t{index}"), [301])
            .in_group(&groups[usize::try_from(index).unwrap()].name),
        param: BufferRange::new(&memory, index * 2048, 301),
        grad: Some(BufferRange::new(&memory, 8192 + index * 2048, 301)),
    };
    (Optimizer::borrowed(gpu, groups, &[tensor(0), tensor(1)]).unwrap(), memory)
}

#[test]
fn borrowed_tensors_take_them_too() {
    let gpu = gpu();
    let rule = |momentum| Sgd::new().lr(0.1).momentum(momentum);
    let groups = |second| [Group::new("a", rule(0.9)), Group::new("b", rule(second))];
    let (mut changed, found) = borrowed(&gpu, &groups(0.9));
    let (mut always, expected) = borrowed(&gpu, &groups(0.5));
    changed.step(&Step::new()).unwrap();
    always.step(&Step::new()).unwrap();
    changed.set_rule("b", rule(0.5)).unwrap();
    for _ in 0..3 {
        changed.step(&Step::new()).unwrap();
        always.step(&Step::new()).unwrap();
    }
    assert_eq!(bits(&common::read(&gpu, &found)), bits(&common::read(&gpu, &expected)));
}

#[test]
fn recorded_steps_keep_those_that_they_were_recorded_with() {
    let rule = |momentum| Sgd::new().lr(0.1).momentum(momentum);
    let groups = |first, second| [Group::new("a", rule(first)), Group::new("b", rule(second))];
    let (mut recorded, mut stepped) = (arena(&groups(0.9, 0.9)), arena(&groups(0.9, 0.9)));
    let gpu = recorded.gpu().clone();
    submit(&gpu, |encoder| {
        for momentum in [0.9, 0.5, 0.7] {
            recorded.set_rule("b", rule(momentum)).unwrap();
            recorded.encode_step(encoder, &Step::new()).unwrap();
        }
        recorded.set_rule("a", rule(0.1)).unwrap();
    });
    for momentum in [0.9, 0.5, 0.7] {
        stepped.set_rule("b", rule(momentum)).unwrap();
        stepped.step(&Step::new()).unwrap();
    }
    assert_eq!(params(&recorded), params(&stepped));
}

#[test]
fn another_rule_slot_or_switch_is_refused_and_nothing_changes() {
    let mut optimizer = arena(&[Group::new("all", AdamW::new())]);
    let mut refused = |rule: std::sync::Arc<dyn Rule>, expected: &str| {
        let error = optimizer.set_rule("all", rule).unwrap_err();
        assert!(matches!(error, Error::OtherRule { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("group 'all' steps by adamw with slots [exp_avg, exp_avg_sq]; {expected}")
        );
    };
    let of = |rule| std::sync::Arc::new(rule);
    refused(
        of(AdamW::new().amsgrad(true)),
        "adamw amsgrad with slots [exp_avg, exp_avg_sq, max_exp_avg_sq] is another rule",
    );
    refused(
        std::sync::Arc::new(NAdam::new()),
        "nadam with slots [exp_avg, exp_avg_sq, mu_product] is another rule",
    );
    refused(std::sync::Arc::new(Lion::new()), "lion with slots [exp_avg] is another rule");
    let error = optimizer.set_rule("none", AdamW::new()).unwrap_err().to_string();
    assert_eq!(error, "there is no group 'none' (groups: all)");
    let error = optimizer.set_rule("all", AdamW::new().eps(-1.0)).unwrap_err().to_string();
    assert_eq!(error, "group 'all': eps must be finite and >= 0, found -1");
    let mut other = arena(&[Group::new("all", AdamW::new())]);
    optimizer.step(&Step::new()).unwrap();
    other.step(&Step::new()).unwrap();
    assert_eq!(params(&optimizer), params(&other));
}

#[test]
fn one_rate_for_groups_that_have_their_own_is_an_error() {
    let groups = [Group::new("a", AdamW::new().lr(1e-3)), Group::new("b", AdamW::new().lr(2e-3))];
    let mut optimizer = arena(&groups);
    let before = params(&optimizer);
    let error = optimizer.step(&Step::lr(1e-2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "groups 'a' and 'b' have different learning rates (0.001 and 0.002): use \
         Step::lr_factor to keep their ratio, or Step::lr_per_group"
    );
    assert_eq!(params(&optimizer), before);
    optimizer.set_rule("b", AdamW::new().lr(1e-3)).unwrap();
    write_grads(&optimizer, &[vec![1.0; 300], vec![1.0; 300]]);
    optimizer.step(&Step::lr(1e-2)).unwrap();
}

/// JSON has no infinity; a configuration must bring it back all the same.
#[test]
fn every_rule_survives_json() {
    for name in RULE_NAMES {
        let rule = rule_by_name(name).unwrap();
        let json = serialize_rule(rule.as_ref(), serde_json::value::Serializer).unwrap();
        let read =
            deserialize_rule(name, serde_json::from_str::<Value>(&json.to_string()).unwrap());
        assert_eq!(format!("{:?}", read.unwrap()), format!("{rule:?}"));
    }
}

/// A group's `lr_scale` multiplies what all groups are given, and nothing that is given to it alone.
#[test]
fn a_scaled_rate_is_that_of_a_rule_which_has_it() {
    let (lr, scale, factor) = (0.01, 0.75f64.powi(3), 0.3);
    let rule = || AdamW::new().lr(lr).weight_decay(0.1);
    let mut scaled = arena(&[Group::new("a", rule()), Group::new("b", rule()).lr_scale(scale)]);
    let mut own = arena(&[Group::new("a", rule()), Group::new("b", rule().lr(lr * scale))]);
    assert_eq!(scaled.groups()[1].lr(), lr * scale);
    let rates = [0.02, 0.02 * scale];
    let lr_of = |group: &Group| if group.name == "b" { group.lr() * factor } else { 0.5 };
    let rates_of = [0.5, lr * scale * factor];
    for [ours, theirs] in [
        [Step::new(), Step::new()],
        [Step::lr_factor(factor), Step::lr_factor(factor)],
        [Step::lr(0.02), Step::lr_per_group(&rates)],
        [Step::lr_per_group(&rates), Step::lr_per_tensor(&rates)],
        [Step::lr_of_group(&lr_of), Step::lr_per_group(&rates_of)],
    ] {
        let before = params(&scaled);
        scaled.step(&ours).unwrap();
        own.step(&theirs).unwrap();
        assert_eq!(params(&scaled), params(&own), "{ours:?}");
        assert_ne!(params(&scaled), before, "{ours:?}");
    }
}

#[test]
fn a_scale_out_of_its_range_and_one_of_a_fixed_rate_are_errors() {
    let build = |group: Group| Optimizer::arena(&gpu(), &[group], &[]).unwrap_err().to_string();
    for scale in [-1.0, f64::NAN, f64::INFINITY, 1e39] {
        assert_eq!(
            build(Group::new("a", Sgd::new()).lr_scale(scale)),
            format!("group 'a': lr_scale must be finite and >= 0, found {scale}")
        );
    }
    assert_eq!(
        build(Group::new("a", Rprop::new()).lr_scale(0.5)),
        "group 'a' cannot have lr_scale: its rule takes its learning rate once and for all"
    );
    let mut optimizer = arena(&[Group::new("a", Sgd::new()), Group::new("b", Sgd::new())]);
    let lr_of = |group: &Group| if group.name == "b" { -0.5 } else { 0.5 };
    assert_eq!(
        optimizer.step(&Step::lr_of_group(&lr_of)).unwrap_err().to_string(),
        "group 'b': the learning rate of a step must be finite and >= 0, found -0.5"
    );
}

/// Learning rate, momentum and weight decay, each by a schedule, against f64.
#[test]
fn all_of_these_follow_schedules() {
    const GRAD: f64 = 0.25;
    let bases = [0.1, 0.02];
    let (cycle, decay) = (OneCycle::new(bases, 20), Exponential::new(0.8));
    let rule = |t| {
        let momentum = cycle.momentum(t).unwrap();
        Sgd::new().momentum(momentum).weight_decay(decay.lr(0.1, t))
    };
    let names = ["a", "b"];
    let specs = names.map(|name| TensorSpec::new(name, [1]).in_group(name));
    let groups = names.map(|name| Group::new(name, rule(0)));
    let mut optimizer = Optimizer::arena(&gpu(), &groups, &specs).unwrap();
    for index in [0, 1] {
        optimizer.write_param(TensorId::new(index), &[1.0]).unwrap();
        optimizer.write_grad(TensorId::new(index), &[0.25]).unwrap();
    }
    let mut scheduler = Scheduler::new(cycle.clone(), bases).unwrap();
    let mut expected = [(1.0, 0.0); 2];
    for t in 0..20 {
        for name in names {
            optimizer.set_rule(name, rule(t)).unwrap();
        }
        optimizer.step(&Step::lr_per_group(scheduler.lrs())).unwrap();
        let Sgd { momentum, weight_decay, .. } = rule(t);
        for (group, (param, buffer)) in expected.iter_mut().enumerate() {
            let grad = GRAD + weight_decay * *param;
            *buffer = if t == 0 { grad } else { momentum * *buffer + grad };
            *param -= cycle.lr_of_group(group, bases[group], t) * *buffer;
        }
        scheduler.step();
    }
    for (index, (expected, _)) in expected.into_iter().enumerate() {
        let found = f64::from(optimizer.read_param(TensorId::new(index)).unwrap()[0]);
        assert!(expected < 0.95 && (found - expected).abs() < 1e-6, "{found}, not {expected}");
    }
}
