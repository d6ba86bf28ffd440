//! What a step tells beside what it does: which tensor is not finite.

use fallline::{
    Adafactor, AdamMini, AdamW, BorrowedTensor, BufferRange, Dtype, DynamicScale, Error, Gpu,
    Group, IntoRule, Lamb, Lookahead, LossScaler, Monitor, Norms, Optimizer, Options, Precision,
    Prodigy, Saved, Sgd, StateFormat, Step, StepReport, TensorId, TensorSpec, wgpu,
};

use crate::common::{Rng, bits, buffer, gpu, specs, step, tiny_gpu, write_grads};

fn group(name: &str) -> Group {
    Group::new(name, AdamW::new())
}

fn skipping() -> Options {
    Options { skip_non_finite: true, ..Options::default() }
}

/// The step and the number of a tensor.
fn first(report: &StepReport) -> Option<(u32, TensorId)> {
    report.first_non_finite.map(|first| (first.step, first.tensor))
}

/// An optimizer in which the second of two groups holds the tensors of even number.
fn two_groups(gpu: &Gpu, dtype: Dtype, options: &Options) -> (Optimizer, Vec<Vec<f32>>) {
    let sizes = [20_000, 3, 0, 70_001, 256, 1];
    let name = |index: usize| if index.is_multiple_of(2) { "even" } else { "odd" };
    let specs = specs(&sizes).into_iter().enumerate();
    let specs: Vec<TensorSpec> =
        specs.map(|(index, spec)| spec.grad_dtype(dtype).in_group(name(index))).collect();
    let groups = [group("odd"), group("even")];
    let optimizer = Optimizer::arena_with(gpu, &groups, &specs, options).unwrap();
    let mut rng = Rng(3);
    (optimizer, sizes.iter().map(|len| rng.values(*len, 1.0)).collect())
}

#[test]
fn the_first_tensor_that_is_not_finite_is_told() {
    for gpu in [gpu(), tiny_gpu()] {
        for &dtype in Dtype::ALL {
            let (mut optimizer, grads) = two_groups(&gpu, dtype, &skipping());
            write_grads(&optimizer, &grads);
            let report = step(&mut optimizer, &Step::new());
            assert_eq!((report.non_finite, report.first_non_finite), (None, None));
            for (tensor, grad) in grads.iter().enumerate().filter(|(_, grad)| !grad.is_empty()) {
                // The first and the last element of it, and something in every tensor behind it.
                for (place, value) in [(0, f32::INFINITY), (grad.len() - 1, f32::NAN)] {
                    let mut planted = grads.clone();
                    planted[tensor][place] = value;
                    for later in planted[tensor + 1..].iter_mut().filter(|grad| !grad.is_empty()) {
                        later[0] = f32::NEG_INFINITY;
                    }
                    write_grads(&optimizer, &planted);
                    let report = step(&mut optimizer, &Step::new());
                    assert_eq!(report.non_finite, Some(TensorId::new(tensor)), "{dtype} {place}");
                    // What came before has been told.
                    assert_eq!(first(&report), Some((report.step, TensorId::new(tensor))));
                    // A tensor without gradient is not looked at.
                    let absent = [TensorId::new(tensor)];
                    let report = step(&mut optimizer, &Step::new().without_grad(&absent));
                    let next = (tensor + 1..grads.len()).find(|next| !grads[*next].is_empty());
                    assert_eq!(report.non_finite, next.map(TensorId::new));
                }
            }
        }
    }
}

#[test]
fn the_first_is_kept_until_it_has_been_told_whatever_comes_then() {
    let gpu = gpu();
    for options in [skipping(), Options { max_norm: Some(1.0), ..Options::default() }] {
        let (mut optimizer, grads) = two_groups(&gpu, Dtype::F32, &options);
        let mut take = |bad: Option<usize>| {
            let mut planted = grads.clone();
            if let Some(tensor) = bad {
                planted[tensor][0] = f32::NAN;
            }
            write_grads(&optimizer, &planted);
            optimizer.step(&Step::new()).unwrap();
        };
        // Many more steps than the history holds, another tensor in most of them.
        take(None);
        take(Some(4));
        for number in 0..150 {
            take([Some(1), Some(3), None][number % 3]);
        }
        let reports = optimizer.wait_reports().unwrap();
        assert_eq!((reports.len(), reports[0].step), (64, 89));
        for (report, number) in reports.iter().zip(89..) {
            assert_eq!(first(report), Some((2, TensorId::new(4))), "step {number}");
            let own = [Some(1), Some(3), None][(number - 3) % 3].map(TensorId::new);
            assert_eq!(report.non_finite, own, "step {number}");
        }
        // It has been told: the next is the first, and is kept as it was.
        let mut planted = grads.clone();
        write_grads(&optimizer, &planted);
        assert_eq!(first(&step(&mut optimizer, &Step::new())), None);
        planted[5][0] = f32::INFINITY;
        write_grads(&optimizer, &planted);
        optimizer.step(&Step::new()).unwrap();
        planted[0][7] = f32::INFINITY;
        write_grads(&optimizer, &planted);
        optimizer.step(&Step::new()).unwrap();
        let reports = optimizer.wait_reports().unwrap();
        let told: Vec<_> =
            reports.iter().map(|report| (report.non_finite, first(report))).collect();
        let of_five = Some((154, TensorId::new(5)));
        assert_eq!(told, [(Some(TensorId::new(5)), of_five), (Some(TensorId::new(0)), of_five)]);
        // A run that is loaded begins with none.
        let mut saved = Saved::default();
        optimizer.save(&mut saved).unwrap();
        optimizer.load(&mut saved).unwrap();
        write_grads(&optimizer, &grads);
        let report = step(&mut optimizer, &Step::new());
        assert_eq!((report.step, report.non_finite, first(&report)), (156, None, None));
    }
}

#[test]
fn finite_gradients_of_an_infinite_norm_name_no_tensor() {
    let gpu = gpu();
    let mut optimizer =
        Optimizer::arena_with(&gpu, &[group("all")], &specs(&[5]), &skipping()).unwrap();
    write_grads(&optimizer, &[vec![f32::MAX; 5]]);
    let report = step(&mut optimizer, &Step::new());
    assert!(report.skipped && report.norm == f32::INFINITY);
    assert_eq!((report.non_finite, report.first_non_finite), (None, None));
}

fn monitored(interval: u32, per_tensor: bool) -> Options {
    Options { monitor: Some(Monitor { interval, per_tensor }), ..Options::default() }
}

/// Everything in the arena, or every tensor in buffers of the caller's.
fn build(
    gpu: &Gpu,
    groups: &[Group],
    specs: &[TensorSpec],
    options: &Options,
    is_borrowed: bool,
) -> Optimizer {
    if !is_borrowed {
        return Optimizer::arena_with(gpu, groups, specs, options).unwrap();
    }
    let lend = |len: usize| {
        let whole = buffer(gpu, &vec![0.0; len.max(4)], wgpu::BufferUsages::STORAGE);
        BufferRange::new(&whole, 0, len as u64)
    };
    let tensor = |spec: &TensorSpec| {
        let len = spec.shape.iter().product();
        BorrowedTensor { spec: spec.clone(), param: lend(len), grad: Some(lend(len)) }
    };
    let tensors: Vec<_> = specs.iter().map(tensor).collect();
    Optimizer::borrowed_with(gpu, groups, &tensors, options).unwrap()
}

/// The parameters with all that is kept of them.
fn kept(optimizer: &Optimizer) -> Vec<Vec<f32>> {
    optimizer.tensors().map(|(id, _)| optimizer.read_master(id).unwrap()).collect()
}

/// The root of a sum of squares, in f64.
fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[track_caller]
fn assert_near(found: f32, expected: f64, what: &str) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= 1e-5 * expected, "{what}: {found:e}, expected {expected:e}");
}

/// What a step tells, by everything before and after it.
struct Oracle {
    before: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
    /// As the engine stores them, with what unscales them.
    grads: Vec<Vec<f32>>,
    unscale: f64,
}

impl Oracle {
    fn check(&self, found: &Norms, tensors: &[usize], what: &str) {
        let elems = |tensor: &usize| {
            let (before, after) = (&self.before[*tensor], &self.after[*tensor]);
            before.iter().zip(after).map(|(p, q)| (f64::from(*p), f64::from(*q) - f64::from(*p)))
        };
        let all = || tensors.iter().flat_map(elems);
        let grads = tensors.iter().flat_map(|tensor| &self.grads[*tensor]);
        let update_norm = norm(all().map(|(_, update)| update));
        let weight_norm = norm(all().map(|(weight, _)| weight));
        assert_near(found.update_norm, update_norm, what);
        assert_near(found.weight_norm, weight_norm, what);
        assert_near(found.grad_norm, norm(grads.map(|g| f64::from(*g) * self.unscale)), what);
        match found.update_ratio() {
            Some(ratio) => assert_near(ratio, update_norm / weight_norm, what),
            None => assert_eq!(weight_norm, 0.0, "{what}"),
        }
    }
}

/// Tensors of awkward lengths, two of them matrices, in two groups.
fn awkward(dtype: Dtype, precision: Precision) -> Vec<TensorSpec> {
    let shapes: [&[usize]; 9] =
        [&[257], &[3], &[70, 201], &[0], &[256, 64], &[1], &[40_009], &[1025], &[5]];
    let spec = |(index, shape): (usize, &&[usize])| {
        TensorSpec::new(format!("t{index}"), shape.to_vec())
            .dtype(dtype)
            .precision(precision)
            .in_group(if index.is_multiple_of(3) { "third" } else { "rest" })
    };
    shapes.iter().enumerate().map(spec).collect()
}

/// Takes monitored steps and compares what each tells.
fn against_the_oracle(
    gpu: &Gpu,
    groups: &[Group],
    specs: &[TensorSpec],
    options: &Options,
    is_borrowed: bool,
    what: &str,
) -> Vec<StepReport> {
    let mut optimizer = build(gpu, groups, specs, options, is_borrowed);
    let mut rng = Rng(9);
    let lens: Vec<usize> = specs.iter().map(|spec| spec.shape.iter().product()).collect();
    for (index, len) in lens.iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &rng.values(*len, 0.5)).unwrap();
    }
    let mut reports = Vec::new();
    for number in 0..3 {
        let before = kept(&optimizer);
        write_grads(&optimizer, &lens.iter().map(|n| rng.values(*n, 0.01)).collect::<Vec<_>>());
        let rates = [1e-2 * f64::from(number + 1), 1e-3];
        let report = step(&mut optimizer, &Step::lr_per_group(&rates).accumulated(2));
        let grads = optimizer.tensors().map(|(id, _)| optimizer.read_grad(id).unwrap()).collect();
        let unscale = 0.5 / f64::from(report.loss_scale);
        let oracle = Oracle { before, after: kept(&optimizer), grads, unscale };
        let told = report.monitored.as_ref().unwrap();
        assert_eq!(told.per_tensor.len(), specs.len());
        for (index, found) in told.per_tensor.iter().enumerate().filter(|(i, _)| lens[*i] > 0) {
            oracle.check(found, &[index], &format!("{what}, step {number}, tensor {index}"));
        }
        for (group, found) in told.per_group.iter().enumerate() {
            let is_in = |i: &usize| specs[*i].group.as_deref() == Some(&groups[group].name);
            let tensors: Vec<usize> = (0..specs.len()).filter(is_in).collect();
            oracle.check(found, &tensors, &format!("{what}, step {number}, group {group}"));
            assert!((f64::from(found.lr) - rates[group]).abs() < 1e-9, "{what}: {}", found.lr);
            assert_eq!(found.grad_norm, report.norm_per_group[group]);
            tensors.iter().filter(|t| lens[**t] > 0).for_each(|tensor| {
                assert_eq!(told.per_tensor[*tensor].lr, found.lr, "{what}");
            });
        }
        reports.push(report);
    }
    reports
}

fn groups(rule: impl IntoRule + Clone) -> [Group; 2] {
    ["rest", "third"].map(|name| Group::new(name, rule.clone()))
}

#[test]
fn norms_of_every_format_are_an_f64_oracles() {
    let gpu = gpu();
    for precision in Precision::ALL.iter().copied() {
        for &dtype in precision.dtypes() {
            for is_borrowed in [false, true] {
                let what = format!("{dtype} {precision:?} borrowed:{is_borrowed}");
                let (groups, specs) = (groups(AdamW::new()), awkward(dtype, precision));
                let options = monitored(1, true);
                against_the_oracle(&gpu, &groups, &specs, &options, is_borrowed, &what);
            }
        }
    }
}

#[test]
fn norms_of_a_large_tensor_are_an_f64_oracles() {
    // More tiles than one run of every column has, in both places.
    let gpu = gpu();
    let specs = [
        TensorSpec::new("large", [1_200_001]).in_group("rest"),
        TensorSpec::new("small", [5]).in_group("third"),
    ];
    for is_borrowed in [false, true] {
        let (groups, options) = (groups(AdamW::new()), monitored(1, true));
        against_the_oracle(&gpu, &groups, &specs, &options, is_borrowed, "large");
    }
}

#[test]
fn norms_of_rules_of_every_kind_are_an_f64_oracles_wherever_buffers_are_cut() {
    let scaler = |gpu: &Gpu| {
        let rule = DynamicScale { init_scale: 1024.0, ..DynamicScale::default() };
        LossScaler::dynamic(gpu, rule).unwrap()
    };
    let kinds: [(&str, [Group; 2]); 6] = [
        ("of elements", groups(Sgd::new().momentum(0.9))),
        ("of tensors", groups(Lamb::new())),
        ("of rows and columns", groups(Adafactor::new())),
        ("of blocks", groups(AdamMini::new())),
        ("of all tensors", groups(Prodigy::new())),
        (
            "steered",
            groups(AdamW::new()).map(|group| group.caution(true).lookahead(Lookahead::new(2, 0.5))),
        ),
    ];
    for (kind, groups) in kinds {
        let specs = awkward(Dtype::F32, Precision::Nearest);
        let mut told: Vec<Vec<StepReport>> = Vec::new();
        for (gpu, is_borrowed) in [(gpu(), false), (gpu(), true), (tiny_gpu(), false)] {
            let loss_scaler = Some(scaler(&gpu));
            let options = Options { max_norm: Some(0.1), loss_scaler, ..monitored(1, true) };
            told.push(against_the_oracle(&gpu, &groups, &specs, &options, is_borrowed, kind));
        }
        // Sums have one order. (Where a parameter lies may change its last bit, but on no driver tried.)
        for other in &told[1..] {
            for (one, other) in told[0].iter().zip(other) {
                assert_eq!(one.monitored, other.monitored, "{kind}");
            }
        }
    }
}

#[test]
fn a_step_that_is_not_monitored_is_that_of_an_optimizer_without_a_monitor() {
    let gpu = gpu();
    let specs = awkward(Dtype::F32, Precision::Nearest);
    let state = |group: Group| group.state(StateFormat::Int8);
    let clipping = || Options { max_norm: Some(0.5), ..Options::default() };
    for options in [Options::default(), clipping()] {
        for is_borrowed in [false, true] {
            for groups in [groups(Lamb::new()), groups(AdamW::new()).map(state)] {
                let monitor = Some(Monitor { interval: 3, per_tensor: true });
                let with = Options { monitor, ..options.clone() };
                let mut plain = build(&gpu, &groups, &specs, &options, is_borrowed);
                let mut optimizer = build(&gpu, &groups, &specs, &with, is_borrowed);
                assert_eq!(optimizer.dispatches(), plain.dispatches());
                let mut rng = Rng(4);
                for number in 1..=7 {
                    for (id, spec) in plain.tensors() {
                        let grad = rng.values(spec.shape.iter().product(), 1.0);
                        plain.write_grad(id, &grad).unwrap();
                        optimizer.write_grad(id, &grad).unwrap();
                    }
                    plain.step(&Step::new()).unwrap();
                    optimizer.step(&Step::new()).unwrap();
                    for ((id, _), other) in plain.tensors().zip(kept(&optimizer)) {
                        assert_eq!(bits(&plain.read_param(id).unwrap()), bits(&other), "{number}");
                    }
                    // Where no option looks at gradients, only monitored steps are reported.
                    let reports = optimizer.wait_reports().unwrap();
                    let is_monitored = number % 3 == 0;
                    let expected = usize::from(is_monitored || options.max_norm.is_some());
                    assert_eq!(reports.len(), expected, "step {number}");
                    for report in reports {
                        assert_eq!(report.step, number);
                        assert_eq!(report.monitored.is_some(), is_monitored, "step {number}");
                    }
                }
            }
        }
    }
}

#[test]
fn as_many_monitored_steps_are_kept_as_others() {
    let gpu = gpu();
    for (interval, expected) in [(1, (87..=150).collect()), (20, vec![100, 120, 140])] {
        let options = Options { max_norm: Some(1.0), ..monitored(interval, false) };
        let mut optimizer =
            Optimizer::arena_with(&gpu, &[group("all")], &specs(&[300]), &options).unwrap();
        for number in 1..=150u16 {
            write_grads(&optimizer, &[vec![f32::from(number); 300]]);
            optimizer.step(&Step::lr(1e-3 / f64::from(number))).unwrap();
        }
        let reports = optimizer.wait_reports().unwrap();
        let of_step = |report: &StepReport| {
            let told = report.monitored.as_ref()?;
            assert!(told.per_tensor.is_empty());
            assert_eq!(told.per_group[0].grad_norm, report.norm_per_group[0]);
            assert_near(told.per_group[0].lr, 1e-3 / f64::from(report.step), "learning rate");
            Some(report.step)
        };
        let steps: Vec<u32> = reports.iter().filter_map(of_step).collect();
        assert_eq!(steps, expected);
        // A run that goes on counts on.
        let mut saved = Saved::default();
        optimizer.save(&mut saved).unwrap();
        let mut other =
            Optimizer::arena_with(&gpu, &[group("all")], &specs(&[300]), &options).unwrap();
        other.load(&mut saved).unwrap();
        for _ in 150..160 {
            other.step(&Step::new()).unwrap();
        }
        let reports = other.wait_reports().unwrap();
        assert_eq!(reports.len(), 10);
        assert!(reports.last().is_some_and(|last| last.step == 160 && last.monitored.is_some()));
    }
}

#[test]
fn steps_that_only_a_monitor_looks_at_are_counted_and_saved() {
    let gpu = gpu();
    let build = || {
        let specs = specs(&[300, 5]);
        Optimizer::arena_with(&gpu, &[group("all")], &specs, &monitored(4, false)).unwrap()
    };
    let mut optimizer = build();
    let absent = [TensorId::new(1)];
    for _ in 0..6 {
        optimizer.step(&Step::new().without_grad(&absent)).unwrap();
    }
    let reports = optimizer.wait_reports().unwrap();
    assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [4]);
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    // An optimizer without a monitor takes it too.
    Optimizer::arena(&gpu, &[group("all")], &specs(&[300, 5])).unwrap().load(&mut saved).unwrap();
    let mut other = build();
    other.load(&mut saved).unwrap();
    for optimizer in [&mut optimizer, &mut other] {
        for _ in 6..13 {
            optimizer.step(&Step::new()).unwrap();
        }
        let reports = optimizer.wait_reports().unwrap();
        assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [8, 12]);
    }
}

#[test]
fn what_takes_no_step_has_no_ratio() {
    let gpu = gpu();
    let options = Options { skip_non_finite: true, ..monitored(1, true) };
    for is_borrowed in [false, true] {
        let mut optimizer =
            build(&gpu, &[group("all")], &specs(&[257, 3, 1000]), &options, is_borrowed);
        for (index, len) in [257, 3, 1000].into_iter().enumerate() {
            optimizer.write_param(TensorId::new(index), &vec![1.0; len]).unwrap();
            optimizer.write_grad(TensorId::new(index), &vec![1.0; len]).unwrap();
        }
        let told = step(&mut optimizer, &Step::new()).monitored.unwrap();
        assert!(told.per_tensor.iter().all(|norms| norms.update_ratio() > Some(9e-4)), "{told:?}");
        let absent = [TensorId::new(2)];
        let told = step(&mut optimizer, &Step::new().without_grad(&absent)).monitored.unwrap();
        assert_eq!(told.per_tensor[2].update_ratio(), None);
        assert_eq!(told.per_tensor[2].grad_norm, 0.0);
        assert_near(told.per_group[0].weight_norm, 260f64.sqrt() * 0.999, "of those that step");
        optimizer.write_grad(TensorId::new(1), &[1.0, f32::NAN, 1.0]).unwrap();
        let report = step(&mut optimizer, &Step::new());
        let told = report.monitored.unwrap();
        assert!(report.skipped && told.per_tensor[1].grad_norm.is_nan());
        assert_near(told.per_tensor[0].grad_norm, 257f64.sqrt(), "of another tensor");
        assert!(told.per_tensor.iter().all(|norms| norms.update_ratio().is_none()));
        assert_eq!(told.per_group[0].update_ratio(), None);
    }
}

#[test]
fn an_update_that_rounding_loses_counts_as_none() {
    let gpu = gpu();
    let spec = TensorSpec::new("p", [4096]).dtype(Dtype::Bf16);
    let group = Group::new("all", AdamW::new().lr(1e-5).weight_decay(0.0));
    let mut optimizer =
        Optimizer::arena_with(&gpu, &[group], &[spec], &monitored(1, false)).unwrap();
    optimizer.write_param(TensorId::new(0), &[1.0; 4096]).unwrap();
    optimizer.write_grad(TensorId::new(0), &[1.0; 4096]).unwrap();
    let told = step(&mut optimizer, &Step::new()).monitored.unwrap();
    assert_eq!((told.per_group[0].update_norm, told.per_group[0].weight_norm), (0.0, 64.0));
    assert_eq!(told.per_group[0].update_ratio(), Some(0.0));
}

#[test]
fn tensors_that_come_are_told_and_the_count_goes_on() {
    let gpu = gpu();
    let options = Options { max_norm: Some(1.0), ..monitored(2, true) };
    let mut optimizer =
        Optimizer::arena_with(&gpu, &[group("all")], &specs(&[300]), &options).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let added = optimizer.add_tensors(&[TensorSpec::new("new", [7])]).unwrap();
    optimizer.write_grad(added[0], &[1.0; 7]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let reports = optimizer.wait_reports().unwrap();
    assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [1, 2]);
    let told = reports[1].monitored.as_ref().unwrap();
    assert_eq!(told.per_tensor.len(), 2);
    assert_near(told.per_tensor[1].grad_norm, 7f64.sqrt(), "of the new tensor");
}

#[test]
fn an_interval_of_no_steps_is_an_error() {
    let gpu = gpu();
    let error = Optimizer::arena_with(&gpu, &[group("all")], &specs(&[1]), &monitored(0, false));
    let Err(Error::Factor { what, expected, found }) = error else { panic!("{error:?}") };
    assert_eq!((what.as_str(), expected, found), ("the interval of the monitor", ">= 1", 0.0));
}
