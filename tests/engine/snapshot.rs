//! A snapshot brings a run back to the bit, and a range test leaves it as it was.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, DynamicScale, Error, Gpu, Group, Lookahead,
    LossScaler, Optimizer, Options, Precision, RULE_NAMES, RangeTest, Saved, StateFormat, Step,
    TensorId, TensorSpec, rule_by_name, wgpu::BufferUsages,
};

use crate::common::{Rng, buffer, gpu, write_grads};

/// A matrix, whole tiles, a scalar, an odd length: and so of 16 bits a word that is half full.
fn specs(dtype: Dtype, precision: Precision) -> Vec<TensorSpec> {
    [vec![33, 17], vec![512], vec![], vec![301]]
        .into_iter()
        .enumerate()
        .map(|(index, shape)| {
            let spec = TensorSpec::new(format!("t{index}"), shape);
            spec.dtype(dtype).precision(precision).grad_dtype(Dtype::F32)
        })
        .collect()
}

fn lens() -> [usize; 4] {
    [33 * 17, 512, 1, 301]
}

/// Over one buffer of the caller's for parameters, and one for gradients.
fn borrowed(gpu: &Gpu, groups: &[Group], specs: &[TensorSpec], options: &Options) -> Optimizer {
    let room = |len: &usize| len.next_multiple_of(64);
    let total: usize = lens().iter().map(room).sum();
    let [params, grads] = [0; 2].map(|_| buffer(gpu, &vec![0.0; total], BufferUsages::STORAGE));
    let mut end = 0;
    let tensor = |(spec, len): (&TensorSpec, usize)| {
        let at = |buffer| BufferRange::new(buffer, end, len as u64);
        let (param, grad) = (at(&params), Some(at(&grads)));
        end += 4 * room(&len) as u64;
        BorrowedTensor { spec: spec.clone(), param, grad }
    };
    let tensors: Vec<_> = specs.iter().zip(lens()).map(tensor).collect();
    Optimizer::borrowed_with(gpu, groups, &tensors, options).unwrap()
}

fn begin(optimizer: &Optimizer) {
    let mut rng = Rng(7);
    for (index, len) in lens().into_iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &rng.values(len, 1.0)).unwrap();
    }
}

/// Steps of different learning rates; one overflows, in one a tensor has no gradient.
fn run(optimizer: &mut Optimizer, steps: std::ops::Range<u64>) {
    for number in steps {
        let mut rng = Rng(number);
        let mut grads = lens().map(|len| rng.values(len, 2.0));
        if number == 4 {
            grads[1][5] = f32::INFINITY;
        }
        write_grads(optimizer, &grads);
        let absent = [TensorId::new(3)];
        let step = Step::lr_factor(1.0 / (1.0 + number as f64));
        let fixed = optimizer.groups()[0].rule.has_fixed_lr();
        let step = if fixed { Step::new() } else { step };
        optimizer.step(&if number == 2 { step.without_grad(&absent) } else { step }).unwrap();
    }
}

fn saved(optimizer: &Optimizer) -> Saved {
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    saved
}

fn options(gpu: &Gpu) -> Options {
    let scale = DynamicScale { growth_interval: 2, ..DynamicScale::default() };
    let scaler = LossScaler::dynamic(gpu, scale).unwrap();
    Options { max_norm: Some(3.0), loss_scaler: Some(scaler), ..Options::default() }
}

#[test]
fn every_rule_comes_back_to_the_bit_and_goes_on() {
    let gpu = gpu();
    let kept = [
        (Dtype::F32, Precision::Nearest, StateFormat::Int8),
        (Dtype::Bf16, Precision::Master, StateFormat::F32),
        (Dtype::Bf16, Precision::Remainder, StateFormat::Bf16),
        (Dtype::F16, Precision::Nearest, StateFormat::F32),
    ];
    for (index, name) in RULE_NAMES.iter().enumerate() {
        let (dtype, precision, state) = kept[index % kept.len()];
        let group = Group::new("all", rule_by_name(name).unwrap()).state(state).min_state_elems(0);
        let (moves_state, evaluates) = (group.rule.moves_state(), group.rule.evaluates());
        let group = if moves_state { group } else { group.lookahead(Lookahead::new(2, 0.5)) };
        let groups = [if evaluates { group } else { group.ema_decay(0.9) }];
        let specs = specs(dtype, precision);
        for is_borrowed in [false, true] {
            let build = || {
                let options = options(&gpu);
                let optimizer = match is_borrowed {
                    true => borrowed(&gpu, &groups, &specs, &options),
                    false => Optimizer::arena_with(&gpu, &groups, &specs, &options).unwrap(),
                };
                begin(&optimizer);
                optimizer
            };
            let (mut optimizer, mut other) = (build(), build());
            run(&mut optimizer, 0..3);
            let before = saved(&optimizer);
            let snapshot = optimizer.snapshot().unwrap();
            assert!(snapshot.size_bytes() > 4 * 1374, "{name}");
            // Twice: a snapshot is not used up.
            for _ in 0..2 {
                run(&mut optimizer, 3..6);
                assert_ne!(saved(&optimizer), before, "{name}");
                optimizer.restore(&snapshot).unwrap();
                assert_eq!(saved(&optimizer), before, "{name}, borrowed: {is_borrowed}");
            }
            run(&mut optimizer, 3..5);
            run(&mut other, 0..5);
            assert_eq!(saved(&optimizer), saved(&other), "{name}, borrowed: {is_borrowed}");
        }
    }
}

#[test]
fn reports_go_on_where_they_were() {
    let gpu = gpu();
    let groups = [Group::new("all", AdamW::new())];
    let specs = specs(Dtype::F32, Precision::Nearest);
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &specs, &options(&gpu)).unwrap();
    begin(&optimizer);
    run(&mut optimizer, 0..2);
    optimizer.wait_reports().unwrap();
    run(&mut optimizer, 2..3);
    let snapshot = optimizer.snapshot().unwrap();
    let steps = |optimizer: &mut Optimizer| -> Vec<u32> {
        optimizer.wait_reports().unwrap().iter().map(|report| report.step).collect()
    };
    run(&mut optimizer, 3..6);
    assert_eq!(steps(&mut optimizer), [3, 4, 5, 6]);
    optimizer.restore(&snapshot).unwrap();
    run(&mut optimizer, 3..4);
    // That of step 3 was not handed out when the snapshot was taken.
    assert_eq!(steps(&mut optimizer), [3, 4]);
}

#[test]
fn a_snapshot_of_other_tensors_is_refused() {
    let gpu = gpu();
    let groups = [Group::new("all", AdamW::new())];
    let build = || Optimizer::arena(&gpu, &groups, &specs(Dtype::F32, Precision::Nearest)).unwrap();
    let (mut optimizer, other) = (build(), build());
    begin(&optimizer);
    let snapshot = optimizer.snapshot().unwrap();
    let is_refused = |result: fallline::Result<()>| matches!(result, Err(Error::OtherSnapshot));
    assert!(is_refused(optimizer.restore(&other.snapshot().unwrap())));
    optimizer.restore(&snapshot).unwrap();
    optimizer.add_tensors(&[TensorSpec::new("more", [5])]).unwrap();
    let before = saved(&optimizer);
    assert!(is_refused(optimizer.restore(&snapshot)));
    assert_eq!(saved(&optimizer), before);
}

/// Half the squared distance from the origin, of one tensor, above a floor: the gradient is the parameter, and SGD with a
/// momentum of 0.5 diverges above 3.
fn loss_and_step(optimizer: &mut Optimizer, lr: f64) -> fallline::Result<f64> {
    let id = TensorId::new(0);
    let param = optimizer.read_param(id)?;
    optimizer.write_grad(id, &param)?;
    optimizer.step(&Step::lr(lr))?;
    Ok(param.iter().map(|value| 0.5 * f64::from(value * value)).sum::<f64>() + 10.0)
}

#[test]
fn a_range_test_suggests_a_rate_and_changes_nothing() {
    let gpu = gpu();
    let groups = [Group::new("all", fallline::Sgd::new().momentum(0.5))];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("p", [100])]).unwrap();
    optimizer.write_param(TensorId::new(0), &[1.0; 100]).unwrap();
    let before = saved(&optimizer);
    let test = RangeTest::new().rates(1e-4, 100.0).steps(80).smoothing(0.0);
    let curve = test.run(&mut optimizer, loss_and_step).unwrap();
    assert_eq!(saved(&optimizer), before);
    let suggestion = curve.suggestion().expect("the loss falls");
    assert!((1e-2..1.0).contains(&suggestion), "{suggestion}");
    let points = curve.points();
    assert!(points.len() < 80 && points.last().is_some_and(|point| point.lr > 1.0), "{points:?}");

    // What the caller's step cannot do leaves everything as it was too.
    let mut count = 0;
    let failed = test.run(&mut optimizer, |optimizer, lr| {
        count += 1;
        if count == 5 { Err(Error::NothingToReport) } else { loss_and_step(optimizer, lr) }
    });
    assert!(matches!(failed, Err(Error::NothingToReport)));
    assert_eq!(saved(&optimizer), before);
    let nonsense = test.steps(1).run(&mut optimizer, loss_and_step);
    assert!(matches!(nonsense, Err(Error::Factor { .. })));
}
