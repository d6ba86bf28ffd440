//! Schedule-free rules: what goes on without a gradient, and where they are evaluated.

use fallline::{
    BorrowedTensor, BufferRange, Dtype, Error, Group, Optimizer, Precision, Saved,
    ScheduleFreeAdamW, ScheduleFreeSgd, Step, TensorId, TensorSpec, wgpu::BufferUsages,
};
use fallline_reference::{self as reference, ulp};

use crate::common::{Case, Rng, bits, buffer, cases, gpu, specs, tiny_gpu};

const LENS: [usize; 3] = [300, 5, 1021];

/// Every rule that is evaluated elsewhere than where it is trained.
fn evaluating() -> Vec<Case> {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.rule.evaluates()).collect();
    assert!(cases.len() > 1);
    cases
}

/// Steps in which the second tensor has a gradient from the fourth on, and the first has none in the third.
fn absent(step: u64) -> Vec<TensorId> {
    match step {
        0 | 1 | 3 => vec![TensorId::new(1)],
        2 => vec![TensorId::new(0), TensorId::new(1)],
        _ => Vec::new(),
    }
}

fn grads(step: u64) -> Vec<Vec<f32>> {
    let mut rng = Rng(20 + step);
    LENS.iter().map(|len| rng.values(*len, 0.5)).collect()
}

fn begin(case: &Case) -> Optimizer {
    let groups = [Group::new("all", case.rule.clone())];
    let optimizer = Optimizer::arena(&gpu(), &groups, &specs(&LENS)).unwrap();
    for (id, spec) in optimizer.tensors() {
        let values = Rng(id.index() as u64).values(spec.shape[0], 1.0);
        optimizer.write_param(id, &values).unwrap();
    }
    optimizer
}

fn step(optimizer: &mut Optimizer, number: u64) {
    for (id, grad) in (0..).map(TensorId::new).zip(grads(number)) {
        optimizer.write_grad(id, &grad).unwrap();
    }
    optimizer.step(&Step::new().without_grad(&absent(number))).unwrap();
}

#[test]
fn what_counts_the_optimizers_steps_goes_on_without_a_gradient() {
    for case in evaluating() {
        let rule = &*case.twin;
        let mut optimizer = begin(&case);
        let tensor = |(index, len): (u64, &usize)| {
            reference::Tensor::<f32>::new(rule, Rng(index).values(*len, 1.0))
        };
        let mut twins: Vec<_> = (0..).zip(&LENS).map(tensor).collect();
        for number in 0..8 {
            step(&mut optimizer, number);
            let (grads, absent) = (grads(number), absent(number));
            let has = |(index, grad)| (!absent.contains(&TensorId::new(index))).then_some(grad);
            let grads: Vec<_> = grads.iter().map(Vec::as_slice).enumerate().map(has).collect();
            reference::step_all(rule, &mut twins, &[case.rule.lr(); 3], &grads);
        }
        assert_eq!(optimizer.read_steps().unwrap(), [7, 4, 8]);
        optimizer.eval().unwrap();
        let evaluated = [0, 1, 2].map(|index| optimizer.read_param(TensorId::new(index)).unwrap());
        optimizer.train().unwrap();
        for (id, twin) in (0..).map(TensorId::new).zip(&twins) {
            assert_eq!(optimizer.read_state(id, "k").unwrap(), [8.0], "{:?}", case.rule);
            for name in ["lr_max", "weight_sum"] {
                let first = optimizer.read_state(TensorId::new(0), name).unwrap();
                assert_eq!(optimizer.read_state(id, name).unwrap(), first, "{:?}", case.rule);
            }
            let close = |what: &str, found: &[f32], expected: &[f32]| {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    let near = (found - expected).abs() < 1e-6;
                    assert!(
                        near || ulp::distance(*found, *expected) <= 8,
                        "{:?} {id:?} {what}: {found:e} {expected:e}",
                        case.rule
                    );
                }
            };
            close("param", &optimizer.read_param(id).unwrap(), &twin.param);
            close("z", &optimizer.read_state(id, "z").unwrap(), twin.get(rule, "z"));
            close("evaluated", &evaluated[id.index()], &twin.evaluated(rule));
            let moved = evaluated[id.index()].iter().zip(&twin.param).any(|(x, y)| x != y);
            assert!(moved, "{:?}: evaluated where it is trained", case.rule);
        }
    }
}

/// torch's order: y, or x and then y again, are the same to the bit, and so is what is saved.
#[test]
fn an_evaluation_between_steps_leaves_no_trace() {
    for case in evaluating() {
        let (mut plain, mut evaluated) = (begin(&case), begin(&case));
        for number in 0..6 {
            step(&mut plain, number);
            step(&mut evaluated, number);
            evaluated.eval().unwrap();
            let refused = evaluated.step(&Step::new());
            assert!(matches!(refused, Err(Error::Evaluating { .. })), "{refused:?}");
            evaluated.train().unwrap();
        }
        // One that is saved at x has y, and one that loads that is at x.
        evaluated.eval().unwrap();
        let mut saved_at_x = Saved::default();
        evaluated.save(&mut saved_at_x).unwrap();
        let mut at_x = begin(&case);
        at_x.load(&mut saved_at_x).unwrap();
        for id in (0..3).map(TensorId::new) {
            let params = [&at_x, &evaluated].map(|o| bits(&o.read_param(id).unwrap()));
            assert_eq!(params[0], params[1], "{:?}", case.rule);
        }
        evaluated.train().unwrap();
        at_x.train().unwrap();
        let saved = [&plain, &evaluated, &at_x].map(|optimizer| {
            let mut saved = Saved::default();
            optimizer.save(&mut saved).unwrap();
            saved
        });
        assert!(saved[0] == saved[1] && saved[0] == saved[2], "{:?}", case.rule);
        // And it goes on from there, k too.
        let mut loaded = begin(&case);
        loaded.load(&mut saved[0].clone()).unwrap();
        step(&mut loaded, 9);
        step(&mut plain, 9);
        for id in (0..3).map(TensorId::new) {
            let params = [&loaded, &plain].map(|o| bits(&o.read_param(id).unwrap()));
            assert_eq!(params[0], params[1], "{:?}", case.rule);
            assert_eq!(plain.read_state(id, "k").unwrap(), [7.0]);
        }
    }
}

/// In every precision, in the arena and in borrowed buffers, of tensors that have taken a step and of one that has not.
#[test]
fn x_is_read_as_it_would_be_put() {
    let gpu = gpu();
    let formats = Precision::ALL
        .iter()
        .flat_map(|precision| precision.dtypes().iter().map(move |dtype| (*dtype, *precision)));
    for (dtype, precision) in formats {
        let case = &evaluating()[0];
        let groups = [Group::new("all", case.rule.clone())];
        let specs: Vec<TensorSpec> = specs(&LENS)
            .into_iter()
            .map(|spec| spec.dtype(dtype).grad_dtype(Dtype::F32).precision(precision))
            .collect();
        let lend = |spec: &TensorSpec| {
            let range = || {
                let lent = buffer(&gpu, &[0.0; 1040], BufferUsages::STORAGE);
                BufferRange::new(&lent, 64, spec.shape[0] as u64)
            };
            let (param, grad) = (range(), range());
            BorrowedTensor { spec: spec.clone(), param, grad: Some(grad) }
        };
        for mut optimizer in [
            Optimizer::arena(&gpu, &groups, &specs).unwrap(),
            Optimizer::arena(&tiny_gpu(), &groups, &specs).unwrap(),
            Optimizer::borrowed(&gpu, &groups, &specs.iter().map(lend).collect::<Vec<_>>())
                .unwrap(),
        ] {
            let ids = (0..3).map(TensorId::new);
            for (id, len) in ids.clone().zip(LENS) {
                optimizer.write_param(id, &Rng(1).values(len, 1.0)).unwrap();
            }
            for number in 0..3 {
                step(&mut optimizer, number);
            }
            let read: Vec<_> = ids.clone().map(|id| optimizer.read_eval(id).unwrap()).collect();
            optimizer.eval().unwrap();
            for (id, read) in ids.clone().zip(&read) {
                let put = optimizer.read_param(id).unwrap();
                assert_eq!(bits(read), bits(&put), "{dtype} {precision} {id:?}");
            }
            optimizer.train().unwrap();
            let trained = ids.map(|id| optimizer.read_param(id).unwrap());
            let differs: Vec<_> = trained.zip(&read).map(|(y, x)| y != *x).collect();
            // In 16 bits the two may round to the same.
            if dtype == Dtype::F32 {
                assert_eq!(differs, [true, false, true]);
            }
        }
    }
}

/// Half a step's precision is kept of y with a master, and x is that of it, rounded once.
#[test]
fn x_of_sixteen_bits_is_rounded_once() {
    let precisions = [Precision::Nearest, Precision::Stochastic, Precision::Master];
    for precision in precisions.into_iter().chain([Precision::Remainder, Precision::Remainder8]) {
        let rule = ScheduleFreeSgd::new().lr(0.1);
        let spec = TensorSpec::new("t", [777])
            .dtype(Dtype::Bf16)
            .grad_dtype(Dtype::F32)
            .precision(precision);
        let mut optimizer = Optimizer::arena(&gpu(), &[Group::new("all", rule)], &[spec]).unwrap();
        let id = TensorId::new(0);
        optimizer.write_param(id, &Rng(1).values(777, 1.0)).unwrap();
        for number in 0..10 {
            optimizer.write_grad(id, &Rng(2 + number).values(777, 0.1)).unwrap();
            optimizer.step(&Step::new()).unwrap();
        }
        let (y, z) = (optimizer.read_master(id).unwrap(), optimizer.read_state(id, "z").unwrap());
        optimizer.eval().unwrap();
        let found = optimizer.read_param(id).unwrap();
        optimizer.train().unwrap();
        assert_eq!(bits(&optimizer.read_master(id).unwrap()), bits(&y), "{precision}");
        for ((found, y), z) in found.iter().zip(&y).zip(&z) {
            let x = f64::from(*y) + (1.0 - 1.0 / 0.9) * (f64::from(*z) - f64::from(*y));
            // Half a unit of bf16's 8 bits.
            let error = (f64::from(*found) - x).abs();
            assert!(error <= x.abs() * 2f64.powi(-8) + 1e-7, "{precision}: {found} {x}");
        }
    }
}

#[test]
fn a_skipped_step_counts_nothing() {
    let options = fallline::Options { skip_non_finite: true, ..<_>::default() };
    let groups = [Group::new("all", ScheduleFreeAdamW::new())];
    let mut optimizer = Optimizer::arena_with(&gpu(), &groups, &specs(&[4, 4]), &options).unwrap();
    let one = [TensorId::new(1)];
    for (value, k) in [(1.0, 1.0), (f32::NAN, 1.0), (1.0, 2.0)] {
        optimizer.write_grad(TensorId::new(0), &[value; 4]).unwrap();
        optimizer.step(&Step::new().without_grad(&one)).unwrap();
        for id in [0, 1].map(TensorId::new) {
            assert_eq!(optimizer.read_state(id, "k").unwrap(), [k], "{value}");
        }
    }
    assert_eq!(optimizer.read_steps().unwrap(), [2, 0]);
}

#[test]
fn a_momentum_of_none_is_refused() {
    let build = |group| Optimizer::arena(&gpu(), &[group], &specs(&[4])).unwrap_err().to_string();
    let adamw = Group::new("all", ScheduleFreeAdamW::new().betas((0.0, 0.9)));
    assert_eq!(build(adamw), "group 'all': betas[0] must be in (0, 1), found 0");
    let sgd = Group::new("all", ScheduleFreeSgd::new().momentum(0.0));
    assert_eq!(build(sgd), "group 'all': momentum must be in (0, 1), found 0");
    let power = Group::new("all", ScheduleFreeSgd::new().r(5.0));
    assert_eq!(build(power), "group 'all': r must be in [0, 4], found 5");
}

#[test]
fn a_power_of_zero_weighs_all_steps_alike() {
    let rule = ScheduleFreeSgd::new().weight_lr_power(0.0).warmup_steps(4);
    let groups = [Group::new("all", rule)];
    let mut optimizer = Optimizer::arena(&gpu(), &groups, &specs(&[4])).unwrap();
    let id = TensorId::new(0);
    optimizer.write_grad(id, &[1.0; 4]).unwrap();
    for lr in [0.0, 1.0, 0.5] {
        optimizer.step(&Step::lr(lr)).unwrap();
    }
    let sum = ["weight_sum", "weight_sum_rest"].map(|s| optimizer.read_state(id, s).unwrap()[0]);
    assert_eq!(sum[0] + sum[1], 3.0);
    // The second of four steps to the whole learning rate.
    assert_eq!(optimizer.read_state(id, "lr_max").unwrap(), [0.5]);
}
