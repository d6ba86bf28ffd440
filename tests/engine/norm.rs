//! Norms, clipping and the overflow test, decided on the GPU.

#![allow(clippy::cast_possible_truncation, reason = "the oracle is rounded to f32 on purpose")]

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Gpu, Group, Optimizer, Options, Sgd, Step, TensorId,
    TensorSpec, wgpu,
};

use crate::common::{AWKWARD, Rng, bits, buffer, gpu, specs, step, tiny_gpu, write_grads};

fn sgd() -> Group {
    Group::new("all", Sgd::new().lr(1.0))
}

fn measuring() -> Options {
    Options { max_norm: Some(f64::INFINITY), ..Options::default() }
}

/// An optimizer in the arena with these gradients.
fn arena(gpu: &Gpu, grads: &[Vec<f32>], options: &Options) -> Optimizer {
    let sizes: Vec<usize> = grads.iter().map(Vec::len).collect();
    let optimizer = Optimizer::arena_with(gpu, &[sgd()], &specs(&sizes), options).unwrap();
    write_grads(&optimizer, grads);
    optimizer
}

fn norm_f64<'a>(grads: impl IntoIterator<Item = &'a Vec<f32>>) -> f64 {
    grads.into_iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt()
}

#[track_caller]
fn assert_relative(found: f32, expected: f64, bound: f64) {
    let error = (f64::from(found) / expected - 1.0).abs();
    assert!(error <= bound, "{found:e} is {error:e} from {expected:e}");
}

#[test]
fn the_norm_is_right_to_1e_6_from_1e_minus_30_to_1e30() {
    let mut rng = Rng(3);
    for exponent in (-30..=30).step_by(6) {
        let scale = 10f32.powi(exponent);
        for len in [1, 2, 31, 257, 4097, 100_003] {
            let grads = [rng.values(len, scale)];
            let mut optimizer = arena(&gpu(), &grads, &measuring());
            let report = step(&mut optimizer, &Step::new());
            assert_relative(report.norm, norm_f64(&grads), 1e-6);
            assert_eq!(report.clip_factor, 1.0);
        }
    }
}

#[test]
fn magnitudes_mix_and_equal_elements_leave_no_bias() {
    let mut rng = Rng(4);
    // Every magnitude from 1e-30 to 1e30 in one tensor; and the largest alone among tiny ones.
    let mixed = (0..300_000).map(|_| {
        let exponent = (rng.next_u64() % 61) as i32 - 30;
        rng.value(10f32.powi(exponent))
    });
    let mut lonely = vec![1e-25f32; 70_000];
    lonely[69_999] = 3e29;
    let mut small = vec![1e-3f32; 1_000_000];
    small[0] = 1.0;
    for grads in [mixed.collect(), lonely, small, vec![0.1; 1_234_567], vec![3e-30; 65_536]] {
        let grads = [grads];
        let mut optimizer = arena(&gpu(), &grads, &measuring());
        assert_relative(step(&mut optimizer, &Step::new()).norm, norm_f64(&grads), 1e-6);
    }
    let mut optimizer = arena(&gpu(), &[vec![0.0; 1000], vec![]], &measuring());
    assert_eq!(step(&mut optimizer, &Step::new()).norm, 0.0);
}

#[test]
#[ignore = "needs 3 GB of memory and half a minute"]
fn the_norm_of_a_billion_elements_is_right_to_1e_6() {
    // Parameters in bf16 in eight buffers; all gradients are the same million elements.
    let gpu = gpu();
    let len = 1 << 20;
    let grad = Rng(9).values(len, 0.01);
    let usage = wgpu::BufferUsages::STORAGE;
    let lent_grad = buffer(&gpu, &grad, usage);
    let pool = || {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: 128 * 2 * len as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let pools: Vec<_> = (0..8).map(|_| pool()).collect();
    let tensor = |i: usize| BorrowedTensor {
        spec: TensorSpec::new(format!("t{i}"), [len]).dtype(Dtype::Bf16).grad_dtype(Dtype::F32),
        param: BufferRange::new(&pools[i / 128], (i % 128 * 2 * len) as u64, len as u64),
        grad: Some(BufferRange::new(&lent_grad, 0, len as u64)),
    };
    let tensors: Vec<_> = (0..954).map(tensor).collect();
    let mut optimizer = Optimizer::borrowed_with(&gpu, &[sgd()], &tensors, &measuring()).unwrap();
    let report = step(&mut optimizer, &Step::lr(0.0));
    assert_relative(report.norm, norm_f64(&[grad]) * 954f64.sqrt(), 1e-6);
}

#[test]
fn the_same_gradients_give_the_same_bits_also_in_pieces() {
    let mut rng = Rng(5);
    let grads: Vec<Vec<f32>> = AWKWARD.iter().map(|len| rng.values(*len, 0.1)).collect();
    let norm = |gpu: &Gpu| {
        let mut optimizer = arena(gpu, &grads, &measuring());
        let first = step(&mut optimizer, &Step::new()).norm.to_bits();
        assert_eq!(step(&mut optimizer, &Step::new()).norm.to_bits(), first);
        first
    };
    let whole = norm(&gpu());
    assert_eq!(norm(&gpu()), whole);
    // Many windows and small dispatches.
    let pieces = norm(&tiny_gpu());
    assert_relative(f32::from_bits(pieces), norm_f64(&grads), 1e-6);
}

#[test]
fn clipping_is_torchs() {
    let mut rng = Rng(6);
    let grads: Vec<Vec<f32>> = AWKWARD.iter().map(|len| rng.values(*len, 0.1)).collect();
    let norm = norm_f64(&grads);
    for max_norm in [0.5 * norm, 0.999 * norm, 2.0 * norm, 1e-3] {
        let options = Options { max_norm: Some(max_norm), ..Options::default() };
        let mut optimizer = arena(&gpu(), &grads, &options);
        let report = step(&mut optimizer, &Step::new());
        assert_relative(report.norm, norm, 1e-6);
        let factor = (max_norm / (norm + 1e-6)).min(1.0);
        assert_relative(report.clip_factor, factor, 2e-6);
        // p = 0 - 1 * (factor * g)
        for (index, grad) in grads.iter().enumerate() {
            let param = optimizer.read_param(TensorId::new(index)).unwrap();
            let expected: Vec<f32> = grad.iter().map(|g| -(report.clip_factor * g)).collect();
            assert_eq!(bits(&param), bits(&expected));
        }
    }
}

#[test]
fn groups_have_limits_of_their_own() {
    let mut rng = Rng(7);
    let grads: Vec<Vec<f32>> = [300, 20, 5000, 7].map(|len| rng.values(len, 1.0)).to_vec();
    let groups = [
        Group::new("free", Sgd::new().lr(1.0)),
        Group::new("own", Sgd::new().lr(1.0)).max_norm(0.25),
        Group::new("exempt", AdamW::default()).max_norm(f64::INFINITY),
    ];
    let names = ["free", "own", "free", "exempt"];
    let specs: Vec<_> =
        specs(&[300, 20, 5000, 7]).into_iter().zip(names).map(|(s, g)| s.in_group(g)).collect();
    let options = Options { max_norm: Some(2.0), ..Options::default() };
    let mut optimizer = Optimizer::arena_with(&gpu(), &groups, &specs, &options).unwrap();
    write_grads(&optimizer, &grads);
    let report = step(&mut optimizer, &Step::new());
    let (all, free) = (norm_f64(&grads), norm_f64([&grads[0], &grads[2]]));
    assert_relative(report.norm, all, 1e-6);
    assert_relative(report.norm_per_group[0], free, 1e-6);
    assert_relative(report.norm_per_group[1], norm_f64([&grads[1]]), 1e-6);
    assert_relative(report.norm_per_group[2], norm_f64([&grads[3]]), 1e-6);
    assert_relative(report.clip_factor, 2.0 / (all + 1e-6), 2e-6);
    assert_eq!(report.clip_factor_per_group[0], report.clip_factor);
    let own = 0.25 / (norm_f64([&grads[1]]) + 1e-6);
    assert_relative(report.clip_factor_per_group[1], own, 2e-6);
    assert_eq!(report.clip_factor_per_group[2], 1.0);
    let param = optimizer.read_param(TensorId::new(1)).unwrap();
    assert_eq!(param[3], -(report.clip_factor_per_group[1] * grads[1][3]));

    // A group's limit alone leaves the others as they are.
    let mut optimizer =
        Optimizer::arena_with(&gpu(), &groups, &specs, &Options::default()).unwrap();
    write_grads(&optimizer, &grads);
    let report = step(&mut optimizer, &Step::new());
    assert_eq!(report.clip_factor_per_group[0], 1.0);
    assert_relative(report.clip_factor_per_group[1], own, 2e-6);
}

#[test]
fn tensors_without_gradient_do_not_count() {
    let grads = [vec![3.0; 100], vec![f32::NAN; 10], vec![4.0; 100]];
    let options = Options { skip_non_finite: true, ..measuring() };
    let mut optimizer = arena(&gpu(), &grads, &options);
    let absent = [TensorId::new(1), TensorId::new(2)];
    let report = step(&mut optimizer, &Step::new().without_grad(&absent));
    assert!(!report.skipped);
    assert_relative(report.norm, 30.0, 1e-6);
    let report = step(&mut optimizer, &Step::new().without_grad(&absent[1..]));
    assert!(report.skipped && report.norm.is_nan());
    assert_eq!(optimizer.read_steps().unwrap(), [1, 0, 0]);
}

#[test]
fn padding_is_not_measured() {
    let gpu = gpu();
    let mut optimizer = arena(&gpu, &[vec![2.0; 5], vec![1.0; 3]], &measuring());
    // What a kernel of the runtime's may leave behind a tensor's end.
    let (slice, end) = {
        let slice = optimizer.grad(TensorId::new(0)).unwrap();
        (slice.buffer().clone(), slice.offset() + 5 * 4)
    };
    gpu.queue().write_buffer(&slice, end, &[0xff; 64]);
    let report = step(&mut optimizer, &Step::new());
    assert_relative(report.norm, 23f64.sqrt(), 1e-6);
}

#[test]
fn clipping_by_value_clamps_and_leaves_nan() {
    let grad = vec![0.5, -0.5, 3.0, -3.0, 0.0, 1e30, -f32::INFINITY, f32::NAN];
    let options = Options { clip_value: Some(1.0), ..Options::default() };
    let mut optimizer = arena(&gpu(), std::slice::from_ref(&grad), &options);
    optimizer.step(&Step::new()).unwrap();
    let param = optimizer.read_param(TensorId::new(0)).unwrap();
    assert_eq!(param[..7], [-0.5, 0.5, -1.0, 1.0, 0.0, -1.0, 1.0]);
    assert!(param[7].is_nan());

    // By norm first, then by value.
    let options = Options { max_norm: Some(2.5), clip_value: Some(1.75), ..Options::default() };
    let mut optimizer = arena(&gpu(), &[vec![3.0, 4.0]], &options);
    let report = step(&mut optimizer, &Step::new());
    assert_relative(report.clip_factor, 0.5, 1e-6);
    let param = optimizer.read_param(TensorId::new(0)).unwrap();
    assert_eq!(param, [-3.0 * report.clip_factor, -1.75]);
}

#[test]
fn without_an_overflow_check_nothing_is_hidden() {
    // torch: an infinite norm gives the factor 0, which makes NaN of the infinite element; a NaN
    // norm makes NaN of all.
    let options = Options { max_norm: Some(1.0), ..Options::default() };
    let mut optimizer = arena(&gpu(), &[vec![1.0, f32::INFINITY, 2.0]], &options);
    let report = step(&mut optimizer, &Step::new());
    assert!(!report.skipped && report.norm == f32::INFINITY && report.clip_factor == 0.0);
    assert!(optimizer.read_param(TensorId::new(0)).unwrap()[1].is_nan());
    let mut optimizer = arena(&gpu(), &[vec![1.0, f32::NAN, 2.0]], &options);
    let report = step(&mut optimizer, &Step::new());
    assert!(!report.skipped && report.norm.is_nan() && report.clip_factor.is_nan());
    assert!(optimizer.read_param(TensorId::new(0)).unwrap().iter().all(|p| p.is_nan()));
    // Only measured, an infinity changes nothing for its neighbours.
    let mut optimizer = arena(&gpu(), &[vec![1.0, f32::INFINITY, 2.0]], &measuring());
    assert_eq!(step(&mut optimizer, &Step::new()).clip_factor, 1.0);
    let param = optimizer.read_param(TensorId::new(0)).unwrap();
    assert_eq!(param, [-1.0, -f32::INFINITY, -2.0]);
}
