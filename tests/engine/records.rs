//! Records of monitored steps, also of a run that was resumed.

use std::ops::RangeInclusive;

use fallline::{
    AdamW, Gpu, Group, Monitor, Optimizer, Options, Saved, Step,
    monitor::{Record, Recorder},
};

use crate::common::{gpu, specs, write_grads};

/// Of two tensors, every tenth of whose steps is monitored.
fn optimizer(gpu: &Gpu) -> Optimizer {
    let monitor = Monitor { interval: 10, per_tensor: true };
    let max_norm = Some(50.0);
    let options =
        Options { max_norm, skip_non_finite: true, monitor: Some(monitor), ..Options::default() };
    let groups = [Group::new("all", AdamW::new()).max_norm(1e9)];
    Optimizer::arena_with(gpu, &groups, &specs(&[300, 4]), &options).unwrap()
}

/// The records of these steps, whose reports are asked for after every 25th and the last.
fn train(
    optimizer: &mut Optimizer,
    recorder: &mut Recorder,
    steps: RangeInclusive<u16>,
) -> Vec<Record> {
    let mut records = Vec::new();
    let end = *steps.end();
    for number in steps {
        let mut grads = [vec![0.0; 300], vec![0.0; 4]];
        // Norms from 1 to 100 in no order, but for steps 13 and 14.
        grads[0][7] = f32::from((number * 37) % 101);
        if (13..15).contains(&number) {
            grads[usize::from(number % 2)][1] = f32::NAN;
        }
        write_grads(optimizer, &grads);
        optimizer.step(&Step::new()).unwrap();
        if number % 25 == 0 || number == end {
            let reports = optimizer.wait_reports().unwrap();
            records.extend(recorder.take(optimizer, reports));
        }
    }
    records
}

#[test]
fn records_tell_of_the_steps_between_by_name() {
    let records = train(&mut optimizer(&gpu()), &mut Recorder::new(), 1..=100);
    assert_eq!(
        records.iter().map(|record| record.step).collect::<Vec<_>>(),
        [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    );
    assert!(records.iter().all(|record| record.steps == 10 && record.tensors.len() == 2));
    let second = &records[1];
    assert_eq!(second.skipped, [13, 14]);
    let told: Vec<_> =
        second.non_finite.iter().map(|event| (event.step, event.tensor.as_str())).collect();
    assert_eq!(told, [(13, "t1"), (14, "t0")]);
    assert!(records[2..].iter().all(|record| record.non_finite.is_empty()));
    let last = &records[9];
    assert_eq!((last.max_norm, last.groups[0].max_norm), (Some(50.0), Some(1e9)));
    assert_eq!((last.tensors[0].name.as_str(), last.groups[0].name.as_str()), ("t0", "all"));
    // Of 98 norms the 89th: without those of the two steps, 77 and 13.
    assert_eq!(last.suggested_max_norm, Some(91.0));
    // The group's limit is beyond all of them, and the other one is nobody's.
    assert_eq!(records.iter().map(|record| record.clipped).sum::<u32>(), 0);
}

#[test]
fn a_run_that_is_resumed_has_the_records_of_one_that_never_stopped() {
    let gpu = gpu();
    let whole = train(&mut optimizer(&gpu), &mut Recorder::new(), 1..=60);
    // Within the steps of a record: before, between and behind those with NaN.
    for end in [7, 13, 14, 20, 36] {
        let (mut first, mut recorder) = (optimizer(&gpu), Recorder::new());
        let mut records = train(&mut first, &mut recorder, 1..=end);
        let mut saved = Saved::default();
        first.save(&mut saved).unwrap();
        let text = serde_json::to_string(&recorder).unwrap();

        let mut second = optimizer(&gpu);
        second.load(&mut saved).unwrap();
        let mut recorder: Recorder = serde_json::from_str(&text).unwrap();
        records.extend(train(&mut second, &mut recorder, end + 1..=60));
        assert_eq!(records, whole, "{end}");
    }
}
