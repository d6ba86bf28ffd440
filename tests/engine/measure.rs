//! Measuring where tensors lie in awkward places: borrowed, ragged, moving, many, none.

#![allow(clippy::cast_possible_truncation, reason = "indices of test tensors are small")]

use fallline::{
    BorrowedTensor, BufferRange, Dtype, DynamicScale, Gpu, Group, LossScaler, Optimizer, Options,
    Precision, Sgd, Step, TensorId, TensorSpec, wgpu,
};

use crate::common::{AWKWARD, Rng, buffer, gpu, specs, step, tiny_gpu};

fn sgd(name: &str) -> Group {
    Group::new(name, Sgd::new().lr(1.0))
}

fn measuring() -> Options {
    Options { max_norm: Some(f64::INFINITY), skip_non_finite: true, ..Options::default() }
}

fn norm_f64(grads: &[f32]) -> f64 {
    grads.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt()
}

#[track_caller]
fn assert_relative(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() <= 1e-6 * expected, "{found:e} {expected:e}");
}

/// Tensors of awkward lengths in buffers of the caller's, whose every other byte is NaN.
fn borrowed(gpu: &Gpu, dtype: Dtype, groups: &[Group], together: bool) -> Optimizer {
    let elem_bytes = if dtype == Dtype::F32 { 4 } else { 2 };
    let (mut end, mut places) = (16usize, Vec::new());
    let mut place = |bytes: usize| {
        let at = end.next_multiple_of(16);
        end = at + bytes;
        at as u64
    };
    for len in AWKWARD {
        places.push((place(len * 4), place(len * elem_bytes), len as u64));
    }
    let lend = || buffer(gpu, &vec![f32::NAN; end / 4 + 8], wgpu::BufferUsages::STORAGE);
    let params = lend();
    let grads = if together { params.clone() } else { lend() };
    let tensor = |(index, (param, grad, len)): (usize, (u64, u64, u64))| BorrowedTensor {
        spec: TensorSpec::new(format!("t{index}"), [len as usize])
            .grad_dtype(dtype)
            .in_group(groups[index % groups.len()].name.clone()),
        param: BufferRange::new(&params, param, len),
        grad: Some(BufferRange::new(&grads, grad, len)),
    };
    let tensors: Vec<_> = places.into_iter().enumerate().map(tensor).collect();
    Optimizer::borrowed_with(gpu, groups, &tensors, &measuring()).unwrap()
}

#[test]
fn ragged_ends_of_borrowed_tensors_are_measured() {
    for gpu in [gpu(), tiny_gpu()] {
        for &dtype in Dtype::ALL {
            for together in [false, true] {
                let groups = [sgd("a"), sgd("b"), sgd("c")];
                let mut optimizer = borrowed(&gpu, dtype, &groups, together);
                let mut rng = Rng(5);
                let mut of_group = vec![Vec::new(); 3];
                for (index, len) in AWKWARD.into_iter().enumerate() {
                    let id = TensorId::new(index);
                    optimizer.write_param(id, &vec![0.0; len]).unwrap();
                    optimizer.write_grad(id, &rng.values(len, 1.0)).unwrap();
                    of_group[index % 3].extend(optimizer.read_grad(id).unwrap());
                }
                let report = step(&mut optimizer, &Step::new());
                assert!(!report.skipped);
                assert_relative(report.norm, norm_f64(&of_group.concat()));
                for (found, grads) in report.norm_per_group.iter().zip(&of_group) {
                    assert_relative(*found, norm_f64(grads));
                }
                // The last element of each.
                for index in (1..AWKWARD.len()).filter(|i| AWKWARD[*i] < 2000) {
                    let id = TensorId::new(index);
                    let good = optimizer.read_grad(id).unwrap();
                    let mut bad = good.clone();
                    *bad.last_mut().unwrap() = f32::INFINITY;
                    optimizer.write_grad(id, &bad).unwrap();
                    assert!(step(&mut optimizer, &Step::new()).skipped, "{dtype} {index}");
                    optimizer.write_grad(id, &good).unwrap();
                }
            }
        }
    }
}

#[test]
fn gradients_that_move_are_measured_where_they_are() {
    let gpu = gpu();
    let spec = |i: u64| {
        TensorSpec::new(format!("t{i}"), [301])
            .dtype(Dtype::Bf16)
            .precision(Precision::Remainder)
            .grad_dtype(Dtype::F16)
    };
    let usage = wgpu::BufferUsages::STORAGE;
    let params = buffer(&gpu, &[0.0; 1024], usage);
    let pools: Vec<_> = (0..4).map(|_| buffer(&gpu, &[0.0; 4096], usage)).collect();
    let lend = |round: usize| -> Vec<BorrowedTensor> {
        let (pool, offset) = (&pools[round % 4], (round / 4 * 2048) as u64);
        let tensor = |i: u64| BorrowedTensor {
            spec: spec(i),
            param: BufferRange::new(&params, i * 608, 301),
            grad: Some(BufferRange::new(pool, offset + (2 - i) * 608, 301)),
        };
        (0..3).map(tensor).collect()
    };
    let mut optimizer =
        Optimizer::borrowed_with(&gpu, &[sgd("all")], &lend(0), &measuring()).unwrap();
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for round in 0..12 {
        optimizer.rebind(&lend(round)).unwrap();
        for i in 0..3 {
            optimizer.write_grad(TensorId::new(i), &[(round + 1) as f32; 301]).unwrap();
        }
        optimizer.encode_step(&mut encoder, &Step::lr(0.0)).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    let reports = optimizer.wait_reports().unwrap();
    assert_eq!(reports.len(), 12);
    for (round, report) in reports.iter().enumerate() {
        assert_relative(report.norm, (round + 1) as f64 * 903f64.sqrt());
    }
}

#[test]
fn many_tensors_in_many_groups_are_told_apart() {
    let groups: Vec<Group> = (0..700).map(|i| sgd(&format!("g{i}")).max_norm(0.5)).collect();
    let len = |i: usize| i * 7 % 13;
    let tensor = |i: usize| {
        TensorSpec::new(format!("t{i}"), [len(i)])
            .in_group(format!("g{}", i % 700))
            .grad_dtype(Dtype::ALL[i / 700])
    };
    let tensors: Vec<_> = (0..2100).map(tensor).collect();
    let mut optimizer = Optimizer::arena_with(&gpu(), &groups, &tensors, &measuring()).unwrap();
    let mut of_group = vec![Vec::new(); 700];
    for i in 0..2100 {
        let grad = vec![(i % 5) as f32; len(i)];
        optimizer.write_grad(TensorId::new(i), &grad).unwrap();
        of_group[i % 700].extend(grad);
    }
    let report = step(&mut optimizer, &Step::new());
    for (group, grads) in of_group.iter().enumerate() {
        let norm = norm_f64(grads);
        assert_relative(report.norm_per_group[group], norm);
        let factor = (0.5 / (norm + 1e-6)).min(1.0);
        assert!((f64::from(report.clip_factor_per_group[group]) - factor).abs() < 1e-6);
    }
    for i in (0..2100).step_by(17) {
        let expected = -report.clip_factor_per_group[i % 700] * (i % 5) as f32;
        assert_eq!(optimizer.read_param(TensorId::new(i)).unwrap(), vec![expected; len(i)]);
    }
}

#[test]
fn small_partials_beside_a_large_one_add_up() {
    // Each row of 16,384 elements adds less than 2^-18 of the one that holds the 1.
    let mut grads = vec![1.5e-5f32; 1 << 20];
    grads[0] = 1.0;
    let mut optimizer =
        Optimizer::arena_with(&gpu(), &[sgd("all")], &specs(&[1 << 20]), &measuring()).unwrap();
    optimizer.write_grad(TensorId::new(0), &grads).unwrap();
    assert_relative(step(&mut optimizer, &Step::new()).norm, norm_f64(&grads));
}

#[test]
fn scale_and_count_together_stay_in_range() {
    let gpu = gpu();
    for exponent in [-120, 120, 124, 126] {
        let scaler = LossScaler::fixed(&gpu, 2f64.powi(exponent)).unwrap();
        let options =
            Options { loss_scaler: Some(scaler), max_norm: Some(0.015625), ..Options::default() };
        let mut optimizer =
            Optimizer::arena_with(&gpu, &[sgd("all")], &specs(&[4]), &options).unwrap();
        optimizer.write_grad(TensorId::new(0), &[2f32.powi(exponent); 4]).unwrap();
        let report = step(&mut optimizer, &Step::new().accumulated(64));
        assert_eq!(report.norm, 0.03125, "2^{exponent}");
        // 1 / 64, clipped to half of it.
        let param = optimizer.read_param(TensorId::new(0)).unwrap();
        assert!(param.iter().all(|p| (p + 0.5 / 64.0).abs() < 1e-6), "2^{exponent}: {param:?}");
    }
}

#[test]
fn an_optimizer_without_tensors_updates_a_scale_that_it_shares() {
    let gpu = gpu();
    let scaler = LossScaler::dynamic(&gpu, DynamicScale::default()).unwrap();
    let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
    let build =
        |sizes: &[usize]| Optimizer::arena_with(&gpu, &[sgd("all")], &specs(sizes), &options);
    let (mut first, mut last) = (build(&[4]).unwrap(), build(&[]).unwrap());
    first.write_grad(TensorId::new(0), &[f32::INFINITY; 4]).unwrap();
    first.step(&Step::new().keep_loss_scale()).unwrap();
    let report = step(&mut last, &Step::new());
    assert_eq!((report.skipped, report.norm), (false, 0.0));
    assert_eq!(scaler.read().unwrap(), (32768.0, 0));
    // What was remembered of an overflow is not a checkpoint's.
    first.step(&Step::new().keep_loss_scale()).unwrap();
    scaler.write(1024.0, 7).unwrap();
    last.step(&Step::new()).unwrap();
    assert_eq!(scaler.read().unwrap(), (1024.0, 8));
    // Tensors without elements are none.
    let mut empty = build(&[0, 0]).unwrap();
    assert_eq!(step(&mut empty, &Step::new().zero_grads()).norm, 0.0);
}
