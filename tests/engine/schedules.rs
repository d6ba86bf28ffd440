//! Learning-rate schedules against PyTorch's and transformers', and where these have a defect.

use fallline::{
    Error,
    schedule::{
        Anneal, AnySchedule, Chained, Constant, CosineAnnealing, CosineAnnealingWarmRestarts,
        CosineWithHardRestarts, CosineWithMinLr, CosineWithMinLrWarmupRate, CosineWithWarmup,
        Cyclic, Exponential, Greedy, KINDS, Linear, MultiStep, Multiplicative, OneCycle, PerGroup,
        PolynomialDecayWithWarmup, ReduceOnPlateau, ScaleMode, Schedule, Sequential, StepDecay,
        SwaLr, WarmupStableDecay, deserialize_schedule,
    },
};
use serde_json::{Value, json};

/// Tables of `tools/record_schedules.py`.
pub(crate) const TABLES: &str = include_str!("../golden/schedules.json");

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Within 1e-12 of the highest rate.
pub(crate) fn assert_near(found: f64, expected: f64, highest: f64, place: &str) {
    assert!((found - expected).abs() <= 1e-12 * highest, "{place}: {found}, not {expected}");
}

/// `tools/record_schedules.py` compares all 10,000 steps of these.
#[test]
fn closed_forms_have_the_rates_of_torch_and_transformers() {
    let tables: Value = serde_json::from_str(TABLES).unwrap();
    let mut compared = 0;
    for case in tables["cases"].as_array().unwrap() {
        if !case["metrics"].is_null() {
            continue;
        }
        let schedule: AnySchedule = serde_json::from_value(case["schedule"].clone()).unwrap();
        let base_lrs = numbers(&case["base_lrs"]);
        schedule.check(&base_lrs).unwrap();
        let schedule = schedule.closed_form().unwrap();
        let rows: Vec<Vec<f64>> = case["lr"].as_array().unwrap().iter().map(numbers).collect();
        let highest = |group: usize| rows.iter().map(|row| row[group]).fold(0.0, f64::max);
        let highest: Vec<f64> = (0..base_lrs.len()).map(highest).collect();
        for (row, t) in case["t"].as_array().unwrap().iter().enumerate() {
            let t = t.as_u64().unwrap();
            let place = format!("{} in step {t}", case["name"]);
            let found = schedule.lrs(&base_lrs, t);
            assert_eq!(found.len(), rows[row].len());
            for (group, found) in found.iter().enumerate() {
                assert_near(*found, rows[row][group], highest[group], &place);
            }
            let momenta = case.get("momentum").map(|rows| numbers(&rows[row])).unwrap_or_default();
            for (group, expected) in momenta.iter().enumerate() {
                let found = schedule.momentum_of_group(group, t).unwrap();
                assert_near(found, *expected, 1.0, &place);
            }
            compared += rows[row].len() + momenta.len();
        }
    }
    assert!(compared > 2000, "{compared} numbers compared");
}

/// `ConstantLR` divides by the factor at the end, and never ends where there are no steps; `LinearLR` divides by these.
#[test]
fn factors_of_0_and_phases_of_no_steps_end() {
    let zero = Constant::new().factor(0.0).total_iters(3);
    assert_eq!([2, 3].map(|t| zero.lr(0.1, t)), [0.0, 0.1]);
    let chained = Chained::new(zero).with(Exponential::new(0.5));
    assert_eq!([2, 3, 4].map(|t| chained.lr(0.1, t)), [0.0, 0.05, 0.025]);
    assert_eq!(Constant::new().total_iters(0).lr(0.1, 0), 0.1);
    assert_eq!(Linear::new().end_factor(0.5).total_iters(0).lr(0.1, 0), 0.05);
    assert_eq!(SwaLr::new(0.05).anneal_epochs(0).lr(0.1, 0), 0.05);
}

/// `step(epoch)` of torch's gives `eta_min` at these.
#[test]
fn restarts_have_the_base() {
    for (t_mult, restarts) in
        [(3, vec![10, 40, 130, 400, 1210, 3640]), (10, vec![110, 1110, 11_110])]
    {
        let schedule = CosineAnnealingWarmRestarts::new(10).t_mult(t_mult).eta_min(1e-3);
        for t in restarts {
            assert_eq!(schedule.lr(0.1, t), 0.1, "T_mult {t_mult}, step {t}");
            assert!(schedule.lr(0.1, t - 1) < 0.004, "T_mult {t_mult}, step {t}");
        }
    }
    // The last cycle of all is as long as can be counted.
    assert!(CosineAnnealingWarmRestarts::new(1).t_mult(u64::MAX).lr(0.1, u64::MAX).is_finite());
}

/// transformers' takes the remainder of a rounded quotient: 49 · (2 / 98) is below 1, and so the end of a cycle.
#[test]
fn hard_restarts_have_the_base() {
    let schedule = CosineWithHardRestarts::new(98).num_cycles(49);
    for t in 0..98 {
        assert_near(schedule.lr(0.1, t), if t % 2 == 0 { 0.1 } else { 0.05 }, 0.1, &t.to_string());
    }
    assert_eq!(schedule.lr(0.1, 98), 0.0);
}

/// torch's takes one step more, and extrapolates; transformers' cosines rise again.
#[test]
fn what_is_over_stays_as_it_is() {
    for linear in [false, true] {
        let anneal = if linear { Anneal::Linear } else { Anneal::Cos };
        let schedule = OneCycle::new(0.1, 100).anneal_strategy(anneal);
        assert_near(schedule.lr(0.0, 99), 0.1 / 25.0 / 1e4, 0.1, "the end");
        for t in [100, 101, u64::MAX] {
            assert_eq!(schedule.lr(0.0, t), schedule.lr(0.0, 99));
            assert_eq!(schedule.momentum(t), Some(0.95));
        }
    }
    for t in [1000, 1001, 1500, u64::MAX] {
        assert_eq!(CosineWithWarmup::new(1000).num_warmup_steps(100).lr(0.1, t), 0.0);
        assert_eq!(CosineWithMinLr::new(1000).min_lr(0.02).lr(0.1, t), 0.02);
        assert_eq!(CosineWithMinLrWarmupRate::new(1000).min_lr(0.02).lr(0.1, t), 0.02);
    }
}

/// torch divides by their length.
#[test]
fn phases_of_one_cycle_may_have_no_length() {
    // The first ends in step 0.
    let schedule = OneCycle::new(0.1, 10).pct_start(0.1);
    assert_eq!(schedule.lr(0.0, 0), 0.1);
    assert_near(schedule.lr(0.0, 9), 0.1 / 25.0 / 1e4, 0.1, "the end");
    // The last begins at the end.
    let schedule = OneCycle::new(0.1, 10).pct_start(1.0);
    assert_eq!([9, 10, 11].map(|t| schedule.lr(0.0, t)), [0.1; 3]);
    assert!(OneCycle::new(0.1, 1).lr(0.0, 0).is_finite());
}

/// transformers divides by the optimizer's default rate.
#[test]
fn every_group_ends_at_the_rate_that_was_given() {
    let polynomial = PolynomialDecayWithWarmup::new(1000).lr_end(1e-4);
    assert_eq!(polynomial.lrs(&[0.1, 0.01], 1000), [1e-4, 1e-4]);
    let cosine = CosineWithMinLr::new(1000).min_lr(1e-4);
    assert_eq!(cosine.lrs(&[0.1, 0.01], 1000), [1e-4, 1e-4]);
}

/// torch's goes on from the rate that it finds, once multiplied.
#[test]
fn every_schedule_of_a_sequence_begins_with_the_base() {
    let halves = AnySchedule::custom(Multiplicative::new(|_| 0.5));
    let schedule = Sequential::new(Exponential::new(0.9)).then(10, halves);
    assert_eq!([10, 11, 12].map(|t| schedule.lr(0.1, t)), [0.1, 0.05, 0.025]);
    // And a one-cycle changes the base of those before and after.
    let schedule = Sequential::new(OneCycle::new(0.5, 10)).then(10, StepDecay::new(5));
    assert_eq!([9, 10, 15].map(|t| schedule.lr(0.1, t)), [0.5 / 25.0 / 1e4, 0.1, 0.1 * 0.1]);
    assert_eq!(schedule.momentum(9), Some(0.95));
    assert_eq!(schedule.momentum(10), None);
}

/// torch cannot have them.
#[test]
fn sequences_and_chains_nest() {
    let chain =
        Chained::new(Exponential::new(0.5)).with(Constant::new().factor(0.25).total_iters(2));
    let inner = Sequential::new(chain).then(3, SwaLr::new(0.0).anneal_epochs(2));
    let schedule = Sequential::new(StepDecay::new(1)).then(2, inner);
    let expected = [1.0, 0.1, 0.25, 0.125, 0.25, 0.25, 0.125, 0.0];
    for (t, expected) in expected.into_iter().enumerate() {
        assert_near(schedule.lr(1.0, t as u64), expected, 1.0, &t.to_string());
    }
}

#[test]
fn functions_scale_cycles_by_their_number_or_the_step() {
    let schedule = |mode| Cyclic::new(1.0).step_size_up(2).scale_fn(mode, |x| 1.0 / x);
    let by_cycle = schedule(ScaleMode::Cycle);
    assert_eq!([2, 6, 10].map(|t| by_cycle.lr(0.0, t)), [1.0, 0.5, 1.0 / 3.0]);
    let by_step = schedule(ScaleMode::Iterations);
    assert_eq!([2, 6, 10].map(|t| by_step.lr(0.0, t)), [0.5, 1.0 / 6.0, 0.1]);
}

#[test]
fn nonsense_is_told_by_the_option() {
    let bases = [0.1, 0.01];
    let cases: Vec<(AnySchedule, &str)> = vec![
        (StepDecay::new(0).into(), "schedule 'step': step_size must be >= 1, found 0"),
        (StepDecay::new(1).gamma(-0.1).into(), "gamma must be finite and >= 0, found -0.1"),
        (MultiStep::new([1]).gamma(f64::NAN).into(), "gamma must be finite and >= 0, found NaN"),
        (Constant::new().factor(1.5).into(), "'constant': factor must be in [0, 1], found 1.5"),
        (Linear::new().start_factor(0.0).into(), "start_factor must be in (0, 1], found 0"),
        (Exponential::new(f64::INFINITY).into(), "gamma must be finite and >= 0, found inf"),
        (CosineAnnealing::new(0).into(), "'cosine_annealing': T_max must be >= 1, found 0"),
        (CosineAnnealingWarmRestarts::new(0).into(), "T_0 must be >= 1, found 0"),
        (CosineAnnealingWarmRestarts::new(1).t_mult(0).into(), "T_mult must be >= 1, found 0"),
        (OneCycle::new(0.1, 0).into(), "total_steps must be >= 1, found 0"),
        (OneCycle::new(-0.1, 9).into(), "max_lr must be finite and >= 0, found -0.1"),
        (OneCycle::new([0.1; 3], 9).into(), "max_lr must be one for each group, 2 in all, found 3"),
        (
            OneCycle::new(0.1, 9).max_momentum([0.9, 1.5]).into(),
            "max_momentum[1] must be in [0, 1], found 1.5",
        ),
        (
            OneCycle::new(0.1, 9).div_factor(0.0).into(),
            "div_factor must be finite and > 0, found 0",
        ),
        (Cyclic::new(0.1).step_size_up(0).into(), "step_size_up must be >= 1, found 0"),
        (
            CosineWithMinLr::new(9).into(),
            "min_lr must be given, or min_lr_rate instead, found none of them",
        ),
        (
            CosineWithMinLr::new(9).min_lr(0.0).min_lr_rate(0.0).into(),
            "min_lr must be given, or min_lr_rate instead, found min_lr and min_lr_rate",
        ),
        (
            PolynomialDecayWithWarmup::new(9).lr_end(0.05).into(),
            "lr_end must be at most each group's learning rate, so <= 0.01, found 0.05",
        ),
        (
            WarmupStableDecay::new(9).num_warmup_steps(3).num_training_steps(11).into(),
            "num_training_steps must be at least those of warm-up and decay, 12, found 11",
        ),
        (
            Sequential::new(Linear::new()).then(5, CosineAnnealing::new(0)).into(),
            "schedule 'sequential': schedulers[1].T_max must be >= 1, found 0",
        ),
        (
            Sequential::new(Linear::new()).then(5, Linear::new()).then(4, Linear::new()).into(),
            "milestones must be in ascending order, found [5, 4]",
        ),
        (ReduceOnPlateau::new().factor(1.0).into(), "factor must be in [0, 1), found 1"),
        (
            ReduceOnPlateau::new().min_lr([0.1]).into(),
            "min_lr must be one for each group, 2 in all, found 1",
        ),
        (Greedy::new().factor(0.0).into(), "'greedy_schedule': factor must be in (0, 1), found 0"),
        (Greedy::new().window_size(0).into(), "window_size must be >= 1, found 0"),
        (Chained::default().into(), "schedulers must be one at least, found none"),
        (Sequential::default().into(), "schedulers must be one at least, found none"),
    ];
    for (schedule, expected) in cases {
        let error = schedule.check(&bases).unwrap_err();
        assert!(matches!(error, Error::Schedule { .. }), "{error:?}");
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

/// Unchecked, no schedule panics or goes on for ever, whatever its options are.
#[test]
fn options_out_of_range_give_no_panic() {
    let schedules: Vec<AnySchedule> = vec![
        StepDecay::new(0).into(),
        CosineAnnealing::new(0).into(),
        CosineAnnealing::new(u64::MAX).into(),
        CosineAnnealingWarmRestarts::new(0).t_mult(2).into(),
        OneCycle::new([0.1], 0).into(),
        Cyclic::new([0.1]).step_size_up(0).step_size_down(0).into(),
        CosineWithHardRestarts::new(0).num_cycles(u64::MAX).into(),
        WarmupStableDecay::new(u64::MAX).num_warmup_steps(u64::MAX).into(),
        Sequential::default().into(),
        Chained::default().into(),
    ];
    for schedule in schedules {
        for t in [0, 1, 2, 3000] {
            let schedule = schedule.closed_form().unwrap();
            let _ = (schedule.lrs(&[0.1, 0.2], t), schedule.momentum_of_group(1, t));
            let _ = schedule.chained_lr(1, 0.1, 0.1, t);
        }
    }
    assert!(PerGroup::from([0.1]).get(1).is_nan());
}

#[test]
fn kinds_have_names_and_options_theirs() {
    let kinds: Vec<&str> = KINDS.to_vec();
    assert!(kinds.contains(&"cosine_annealing") && kinds.contains(&"wsd_schedule"));
    for (kind, alias) in [
        ("cosine_schedule_with_warmup", "cosine"),
        ("linear_schedule_with_warmup", "linear_with_warmup"),
        ("cosine_with_hard_restarts_schedule_with_warmup", "cosine_with_restarts"),
    ] {
        let options = json!({ "num_training_steps": 100 });
        let mut tagged = options.clone();
        tagged["kind"] = alias.into();
        let schedule = deserialize_schedule(alias, options).unwrap();
        assert_eq!(schedule.kind(), kind);
        assert_eq!(serde_json::from_value::<AnySchedule>(tagged).unwrap().kind(), kind);
    }
    let cosine = AnySchedule::from(CosineAnnealing::new(100).eta_min(0.5));
    let saved = json!({ "kind": "cosine_annealing", "T_max": 100, "eta_min": 0.5 });
    assert_eq!(serde_json::to_value(&cosine).unwrap(), saved);
    let error = |kind, options: Value| deserialize_schedule(kind, options).unwrap_err().to_string();
    let unknown = error("cosine_annealing", json!({ "T_max": 1, "T_mac": 1 }));
    assert_eq!(unknown, "unknown field `T_mac`, expected one of `T_max`, `t_max`, `eta_min`");
    assert_eq!(error("cosine_annealing", json!({})), "missing field `T_max`");
    assert!(
        error("cosin", json!({})).starts_with("unknown variant `cosin`, expected one of `step`")
    );
    let shape = error("wsd", json!({ "num_decay_steps": 1, "decay_type": "sqrt" }));
    assert_eq!(shape, "unknown variant `sqrt`, expected one of `linear`, `cosine`, `1-sqrt`");
    let array = error("one_cycle", json!({ "max_lr": "high", "total_steps": 1 }));
    assert_eq!(array, "expected a number, or an array of one for each group");
    let custom = AnySchedule::custom(|_| 1.0);
    assert!(serde_json::to_value(&custom).is_err());
}
