//! Schedulers: schedules that go by a metric against PyTorch's and transformers', and what they save.

use fallline::{
    Error,
    schedule::{
        AnySchedule, Chained, CosineAnnealing, Exponential, Greedy, MetricMode, OneCycle,
        ReduceOnPlateau, Schedule, Scheduler, SchedulerState, Sequential, ThresholdMode,
    },
};
use serde_json::{Value, json};

use crate::schedules::{TABLES, assert_near, numbers};

/// A scheduler after some metrics.
fn observed(schedule: impl Into<AnySchedule>, base: f64, metrics: &[f64]) -> Scheduler {
    let mut scheduler = Scheduler::new(schedule, [base]).unwrap();
    metrics.iter().for_each(|metric| scheduler.observe(*metric));
    scheduler
}

#[test]
fn metrics_move_the_rates_as_in_torch_and_transformers() {
    let tables: Value = serde_json::from_str(TABLES).unwrap();
    let mut compared = 0;
    for case in tables["cases"].as_array().unwrap() {
        if case["metrics"].is_null() {
            continue;
        }
        let schedule: AnySchedule = serde_json::from_value(case["schedule"].clone()).unwrap();
        let mut scheduler = Scheduler::new(schedule, numbers(&case["base_lrs"])).unwrap();
        // The rates of the steps at which they change, and of the last.
        let changes: Vec<u64> =
            case["t"].as_array().unwrap().iter().flat_map(Value::as_u64).collect();
        let mut row = 0;
        for (t, metric) in (0..).zip(numbers(&case["metrics"])) {
            row += usize::from(row + 1 < changes.len() && changes[row + 1] == t);
            for (found, expected) in scheduler.lrs().iter().zip(numbers(&case["lr"][row])) {
                let place = format!("{} in step {t}", case["name"]);
                assert_near(*found, expected, expected, &place);
            }
            scheduler.observe(metric);
            scheduler.step();
            compared += 1;
        }
        assert_eq!(row + 1, changes.len());
    }
    assert!(compared > 2000, "{compared} steps compared");
}

/// torch's relative threshold is best · (1 - threshold), which is above a best below 0.
#[test]
fn worse_is_not_better_below_0() {
    let worse = [-1.0, -0.95, -0.9, -0.85];
    let plateau = ReduceOnPlateau::new().patience(1).threshold(0.1);
    assert_eq!(observed(plateau.clone(), 0.1, &worse).lrs(), [0.1 * 0.1]);
    assert_eq!(observed(plateau.clone(), 0.1, &[-1.0, -1.2, -1.4, -1.6]).lrs(), [0.1]);
    let falling = [-1.0, -1.05, -1.1, -1.15];
    assert_eq!(observed(plateau.mode(MetricMode::Max), 0.1, &falling).lrs(), [0.1 * 0.1]);
    let greedy = Greedy::new().patience(1).factor(0.5).threshold(0.1);
    let greedy = greedy.threshold_mode(ThresholdMode::Rel);
    assert_eq!(observed(greedy, 0.1, &worse).lrs(), [0.05]);
}

#[test]
fn what_is_not_finite_is_not_better() {
    for metric in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let plateau = ReduceOnPlateau::new().patience(1);
        let scheduler = observed(plateau, 0.1, &[metric, 1.0, metric, metric]);
        assert_eq!(scheduler.lrs(), [0.1 * 0.1], "{metric}");
        // In transformers' average it would stay for ever.
        let smooth = Greedy::new().patience(2).factor(0.5).smooth(true).window_size(2);
        let scheduler = observed(smooth, 0.1, &[metric, 5.0, 4.0, 3.0, 2.0, 1.0]);
        assert_eq!(scheduler.lrs(), [0.2], "{metric}");
    }
}

#[test]
fn a_scheduler_has_the_rates_of_its_schedule() {
    let schedule = OneCycle::new([0.1, 0.2], 50);
    let mut scheduler = Scheduler::new(schedule.clone(), [0.0, 0.0]).unwrap();
    for t in 0..60 {
        assert_eq!(scheduler.t(), t);
        assert_eq!(scheduler.lrs(), schedule.lrs(&[0.0, 0.0], t));
        assert_eq!(scheduler.momentum(1), schedule.momentum_of_group(1, t));
        // It has nothing to do with it.
        scheduler.observe(1.0);
        scheduler.step();
    }
    let chain = Chained::new(Exponential::new(0.9)).with(CosineAnnealing::new(7));
    let mut scheduler = Scheduler::new(chain.clone(), [0.1]).unwrap();
    for t in 0..30 {
        assert_eq!(scheduler.lrs(), chain.lrs(&[0.1], t));
        scheduler.step();
    }
}

#[test]
fn states_resume_what_they_were_of() {
    let noise = |t: u32| f64::from(t * 7919 % 101);
    let schedules: [AnySchedule; 4] = [
        CosineAnnealing::new(30).into(),
        Chained::new(Exponential::new(0.9)).with(CosineAnnealing::new(7)).into(),
        ReduceOnPlateau::new().patience(2).cooldown(3).into(),
        Greedy::new().patience(1).smooth(true).window_size(3).cooldown(2).warmup(1).into(),
    ];
    for schedule in schedules {
        let mut whole = Scheduler::new(schedule.clone(), [0.1, 0.01]).unwrap();
        let mut resumed = whole.clone();
        for t in 0..60 {
            let saved = serde_json::to_string(resumed.state()).unwrap();
            resumed = Scheduler::new(schedule.clone(), [0.1, 0.01]).unwrap();
            resumed.load_state(serde_json::from_str(&saved).unwrap()).unwrap();
            assert_eq!((resumed.lrs(), resumed.t()), (whole.lrs(), whole.t()));
            for scheduler in [&mut whole, &mut resumed] {
                scheduler.observe(noise(t));
                scheduler.step();
            }
        }
    }
}

#[test]
fn states_survive_json_whatever_the_metrics_are() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MAX, f64::MIN, 5e-324];
    let greedy = Greedy::new().patience(0).factor(0.5).reset_start(4).min_lr(0.01);
    let schedules: [AnySchedule; 4] = [
        ReduceOnPlateau::new().patience(0).into(),
        greedy.clone().into(),
        greedy.clone().smooth(true).window_size(3).into(),
        greedy.smooth(true).mode(MetricMode::Max).threshold_mode(ThresholdMode::Rel).into(),
    ];
    for schedule in schedules {
        let mut whole = Scheduler::new(schedule.clone(), [0.1]).unwrap();
        // Odd ones first, between others and last.
        for t in 0..60 {
            let metric = if t % 4 == 0 { odd[t / 4 % odd.len()] } else { (t * 37 % 11) as f64 };
            whole.observe(metric);
            let saved = serde_json::to_string(whole.state()).unwrap();
            let mut resumed = Scheduler::new(schedule.clone(), [0.1]).unwrap();
            resumed.load_state(serde_json::from_str(&saved).unwrap()).unwrap();
            assert_eq!(resumed.state(), whole.state(), "{saved}");
        }
    }
}

#[test]
fn metrics_that_are_not_finite_are_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let greedy = Greedy::new().smooth(true);
        let mut scheduler = observed(greedy, 0.1, &[2.0, 1.0]);
        let before = scheduler.state().clone();
        for is_best in [true, false] {
            let mut state = before.clone();
            let metric = state.metric.as_mut().unwrap();
            if is_best {
                metric.best = Some(value);
            } else {
                metric.window[1] = value;
            }
            let error = scheduler.load_state(state).unwrap_err().to_string();
            let expected = format!("metric must be of finite numbers, found {value}");
            assert!(error.ends_with(&expected), "{error}");
            assert_eq!(*scheduler.state(), before);
        }
    }
}

#[test]
fn states_of_others_are_refused() {
    let state = |value: Value| serde_json::from_value::<SchedulerState>(value).unwrap();
    let mut plateau = Scheduler::new(ReduceOnPlateau::new(), [0.1, 0.01]).unwrap();
    let before = plateau.state().clone();
    for (wrong, expected) in [
        (
            json!({ "t": 1, "lrs": [0.1], "metric": {} }),
            "lrs must be one for each group, 2 in all, found 1",
        ),
        (
            json!({ "t": 1, "lrs": [0.1, -0.1], "metric": {} }),
            "lrs must be finite and >= 0, found -0.1",
        ),
        (
            json!({ "t": 1, "lrs": [0.1, 0.1] }),
            "metric must be that of 'reduce_on_plateau', found none",
        ),
    ] {
        let error = plateau.load_state(state(wrong)).unwrap_err();
        assert!(matches!(error, Error::SchedulerState { .. }), "{error:?}");
        assert!(error.to_string().ends_with(expected), "{error}");
        assert_eq!(*plateau.state(), before);
    }
    let mut cosine = Scheduler::new(CosineAnnealing::new(9), [0.1]).unwrap();
    let error =
        cosine.load_state(state(json!({ "t": 1, "lrs": [0.1], "metric": {} }))).unwrap_err();
    assert!(
        error.to_string().ends_with("metric must be none, as of 'cosine_annealing', found one")
    );
    for bases in [vec![], vec![0.1, f64::NAN], vec![-0.1]] {
        let error = Scheduler::new(CosineAnnealing::new(9), bases).unwrap_err();
        assert!(error.to_string().contains("base_lrs"), "{error}");
    }
    let error = Scheduler::new(Sequential::new(ReduceOnPlateau::new()), [0.1]).unwrap_err();
    let expected = "schedule 'sequential': schedulers[0] must be a schedule that needs no metric, \
                    found reduce_on_plateau";
    assert_eq!(error.to_string(), expected);
}
