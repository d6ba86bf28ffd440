//! What a step tells beside what it does: which tensor is not finite.

use fallline::{
    AdamW, Dtype, Gpu, Group, Optimizer, Options, Saved, Step, StepReport, TensorId, TensorSpec,
};

use crate::common::{Rng, gpu, specs, step, tiny_gpu, write_grads};

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
