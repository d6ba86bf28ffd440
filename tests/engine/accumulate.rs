//! Gradients of micro-batches, added up on the GPU.

use fallline::{
    Accumulator, BorrowedTensor, BufferRange, Dtype, Error, Gpu, Group, MicroGrad, Optimizer,
    Options, Sgd, Step, TensorId, TensorSpec, wgpu,
};
use fallline_reference::{
    formats::{bf16, f16},
    ulp,
};

use crate::common::{self, AWKWARD, Rng, bits, buffer, gpu, specs};

fn round(dtype: Dtype, value: f32) -> f32 {
    match dtype {
        Dtype::F16 => f16::decode(f16::encode(value)),
        Dtype::Bf16 => bf16::decode(bf16::encode(value)),
        _ => value,
    }
}

/// A buffer with these values in a format, each tensor from a multiple of four elements on.
fn micro_grads(gpu: &Gpu, dtype: Dtype, grads: &[Vec<f32>]) -> (wgpu::Buffer, Vec<MicroGrad>) {
    let mut bytes: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    for grad in grads {
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        places.push((bytes.len() as u64, grad.len() as u64));
        for value in grad {
            match dtype {
                Dtype::F16 => bytes.extend(f16::encode(*value).to_le_bytes()),
                Dtype::Bf16 => bytes.extend(bf16::encode(*value).to_le_bytes()),
                _ => bytes.extend(value.to_le_bytes()),
            }
        }
    }
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let words: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let lent = buffer(gpu, &words, wgpu::BufferUsages::STORAGE);
    let micro = |(offset, len)| MicroGrad { dtype, range: BufferRange::new(&lent, offset, len) };
    let micro = places.into_iter().map(micro).collect();
    (lent, micro)
}

fn submit(gpu: &Gpu, accumulator: &Accumulator, factors: &[f64]) {
    // Several in one submission, each with its own factor.
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for factor in factors {
        accumulator.encode(&mut encoder, *factor).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
}

fn sgd() -> [Group; 1] {
    [Group::new("all", Sgd::new().lr(1.0))]
}

#[test]
fn micro_batches_of_every_format_add_up() {
    let gpu = gpu();
    let mut rng = Rng(31);
    for into in [Dtype::F32, Dtype::Bf16] {
        for &from in Dtype::ALL {
            let grads: Vec<Vec<f32>> = AWKWARD
                .iter()
                .map(|len| rng.values(*len, 1.0).iter().map(|v| round(from, *v)).collect())
                .collect();
            let specs: Vec<TensorSpec> =
                specs(&AWKWARD).into_iter().map(|spec| spec.grad_dtype(into)).collect();
            let mut optimizer = Optimizer::arena(&gpu, &sgd(), &specs).unwrap();
            let (_lent, micro) = micro_grads(&gpu, from, &grads);
            let accumulator = optimizer.accumulator(&micro).unwrap();
            assert_eq!(accumulator.dispatches(), 2, "whole vec4s, ragged ends");
            submit(&gpu, &accumulator, &[1.0, 0.25, 3.0]);
            for (index, grad) in grads.iter().enumerate() {
                let found = optimizer.read_grad(TensorId::new(index)).unwrap();
                let sum = |g: &f32| {
                    [1.0, 0.25, 3.0].iter().fold(0.0, |sum: f32, f| round(into, sum + f * g))
                };
                let expected: Vec<f32> = grad.iter().map(sum).collect();
                // A multiplication and an addition may be contracted to one rounding.
                let units = if into == Dtype::F32 { 2 } else { 1 << 16 };
                let close =
                    found.iter().zip(&expected).all(|(a, b)| ulp::distance(*a, *b) <= units);
                assert!(close && found.len() == expected.len(), "{from} into {into}, {index}");
            }
            // The step divides by the count and begins anew.
            optimizer.step(&Step::new().accumulated(3).zero_grads()).unwrap();
            let last = TensorId::new(AWKWARD.len() - 1);
            assert!(optimizer.read_grad(last).unwrap().iter().all(|g| *g == 0.0));
            let param = optimizer.read_param(last).unwrap();
            let mean = 4.25 / 3.0 * grads[AWKWARD.len() - 1][5];
            assert!((param[5] + mean).abs() < 0.02 * mean.abs());
        }
    }
}

#[test]
fn an_overflow_in_any_micro_batch_is_remembered() {
    let gpu = gpu();
    let options = Options { skip_non_finite: true, ..Options::default() };
    for (into, from) in [(Dtype::F32, Dtype::F16), (Dtype::Bf16, Dtype::Bf16)] {
        for planted in 0..3 {
            for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let specs = [TensorSpec::new("t", [71]).grad_dtype(into)];
                let mut optimizer = Optimizer::arena_with(&gpu, &sgd(), &specs, &options).unwrap();
                for batch in 0..3 {
                    let mut grad = vec![1.0; 71];
                    if batch == planted {
                        grad[70] = value;
                    } else if batch == planted + 1 {
                        // The opposite infinity does not cancel it.
                        grad[70] = -value;
                    }
                    let (_lent, micro) = micro_grads(&gpu, from, &[grad]);
                    submit(&gpu, &optimizer.accumulator(&micro).unwrap(), &[1.0]);
                }
                optimizer.step(&Step::new().accumulated(3).zero_grads()).unwrap();
                assert!(optimizer.wait_reports().unwrap()[0].skipped, "{planted} {value}");
                assert_eq!(optimizer.read_param(TensorId::new(0)).unwrap(), [0.0; 71]);
                // The next batch begins anew.
                let (_lent, micro) = micro_grads(&gpu, from, &[vec![2.0; 71]]);
                submit(&gpu, &optimizer.accumulator(&micro).unwrap(), &[1.0]);
                optimizer.step(&Step::new()).unwrap();
                assert_eq!(optimizer.read_param(TensorId::new(0)).unwrap(), [-2.0; 71]);
            }
        }
    }
}

#[test]
fn accumulators_may_lie_in_the_micro_batchs_buffer() {
    let gpu = gpu();
    // Gradient, micro-batch's gradient and parameter of two tensors, all in one buffer.
    let lens = [37usize, 300];
    let usage = wgpu::BufferUsages::STORAGE;
    let contents: Vec<f32> = (0..1200).map(|i| i as f32).collect();
    let lent = buffer(&gpu, &contents, usage);
    let range = |at: usize, len: usize| BufferRange::new(&lent, at as u64 * 4, len as u64);
    let places = [(0, 40, 80), (120, 420, 720)];
    let tensors: Vec<BorrowedTensor> = specs(&lens)
        .into_iter()
        .zip(places)
        .map(|(spec, (grad, _, param))| {
            let len = spec.shape[0];
            BorrowedTensor { spec, param: range(param, len), grad: Some(range(grad, len)) }
        })
        .collect();
    let optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    let micro: Vec<MicroGrad> = places
        .iter()
        .zip(lens)
        .map(|((_, micro, _), len)| MicroGrad { dtype: Dtype::F32, range: range(*micro, len) })
        .collect();
    submit(&gpu, &optimizer.accumulator(&micro).unwrap(), &[2.0]);
    let after = common::read(&gpu, &lent);
    let mut expected = contents.clone();
    for ((grad, micro, _), len) in places.into_iter().zip(lens) {
        for at in 0..len {
            expected[grad + at] = contents[grad + at] + 2.0 * contents[micro + at];
        }
    }
    assert_eq!(bits(&after), bits(&expected));
}

#[test]
fn what_cannot_be_added_up_is_named() {
    let gpu = gpu();
    let specs = [TensorSpec::new("head", [8]).grad_dtype(Dtype::F16)];
    let half = Optimizer::arena(&gpu, &sgd(), &specs).unwrap();
    let (_lent, micro) = micro_grads(&gpu, Dtype::F32, &[vec![1.0; 8]]);
    assert_eq!(
        half.accumulator(&micro).unwrap_err().to_string(),
        "tensor 'head': gradients add up in f32 or bf16, but its gradient is f16"
    );
    let single = Optimizer::arena(&gpu, &sgd(), &common::specs(&[8])).unwrap();
    let error = single.accumulator(&[]).unwrap_err();
    assert!(matches!(error, Error::GradCount { expected: 1, found: 0 }), "{error}");
    let (_lent, short) = micro_grads(&gpu, Dtype::F32, &[vec![1.0; 7]]);
    assert_eq!(
        single.accumulator(&short).unwrap_err().to_string(),
        "tensor 't0': the gradient must have 8 elements, found 7"
    );
    // The accumulator's own place.
    let own = single.grad(TensorId::new(0)).unwrap();
    let range = BufferRange::new(own.buffer(), own.offset(), 8);
    let error = single.accumulator(&[MicroGrad { dtype: Dtype::F32, range }]).unwrap_err();
    assert!(matches!(error, Error::Overlap { .. }), "{error}");
    let accumulator = single.accumulator(&micro).unwrap();
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        let error = accumulator.encode(&mut encoder, factor).unwrap_err();
        let expected =
            format!("the factor of a micro-batch must be finite and >= 2^-126, found {factor}");
        assert_eq!(error.to_string(), expected);
    }
}
