//! The step under criterion: a step against its own memory traffic, many tensors against one, and
//! the host's time to record a step. `fallline bench` measures whole models; see `README.md` here.
#![allow(missing_docs, reason = "criterion's macros generate public functions")]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fallline::{AdamW, Gpu, Group, IntoRule, Lion, Optimizer, Sgd, Step, TensorSpec, wgpu};

const ELEMS: usize = 4 << 20;

fn gpu() -> Gpu {
    Gpu::from_env().unwrap_or_else(|error| panic!("a benchmark needs a GPU: {error}"))
}

fn optimizer(gpu: &Gpu, rule: impl IntoRule, tensors: usize) -> Optimizer {
    let specs: Vec<_> =
        (0..tensors).map(|i| TensorSpec::new(format!("t{i}"), [ELEMS / tensors])).collect();
    Optimizer::arena(gpu, &[Group::new("all", rule)], &specs)
        .unwrap_or_else(|error| panic!("cannot build: {error}"))
}

fn step_and_wait(optimizer: &mut Optimizer) {
    optimizer.step(&Step::new()).and_then(|()| optimizer.gpu().wait()).expect("a live device");
}

/// Each rule, beside the kernel that only moves its bytes.
fn rules(c: &mut Criterion) {
    let gpu = gpu();
    let mut group = c.benchmark_group("rule");
    group.throughput(Throughput::Elements(ELEMS as u64)).sample_size(20);
    let rules = [
        Sgd::new().into_rule(),
        Sgd::new().momentum(0.9).into_rule(),
        Lion::new().into_rule(),
        AdamW::new().into_rule(),
    ];
    for rule in rules {
        let name = format!("{} {} slots", rule.name(), rule.slots(&TensorSpec::new("", [1])).len());
        let mut optimizer = optimizer(&gpu, rule, 1);
        step_and_wait(&mut optimizer);
        let traffic = optimizer.traffic().expect("a live device");
        group.bench_function(BenchmarkId::new("step", &name), |b| {
            b.iter(|| step_and_wait(&mut optimizer));
        });
        group.bench_function(BenchmarkId::new("traffic", &name), |b| {
            b.iter(|| {
                let mut encoder = gpu.device().create_command_encoder(&<_>::default());
                traffic.record(&mut encoder.begin_compute_pass(&<_>::default()));
                gpu.queue().submit([encoder.finish()]);
                gpu.wait().expect("a live device");
            });
        });
    }
    group.finish();
}

/// The same number of elements in one tensor and in a thousand and more.
fn tensors(c: &mut Criterion) {
    let gpu = gpu();
    let mut group = c.benchmark_group("tensors");
    group.throughput(Throughput::Elements(ELEMS as u64)).sample_size(20);
    for tensors in [1, 1024, 4096] {
        let mut optimizer = optimizer(&gpu, AdamW::new(), tensors);
        group.bench_function(BenchmarkId::from_parameter(tensors), |b| {
            b.iter(|| step_and_wait(&mut optimizer));
        });
    }
    group.finish();
}

/// The host's time to record a step, without the encoder and the submission.
fn encode(c: &mut Criterion) {
    let gpu = gpu();
    let mut group = c.benchmark_group("encode");
    for tensors in [1, 1024, 4096] {
        let mut optimizer = optimizer(&gpu, AdamW::new(), tensors);
        group.bench_function(BenchmarkId::from_parameter(tensors), |b| {
            b.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let descriptor = wgpu::CommandEncoderDescriptor::default();
                    let mut encoder = gpu.device().create_command_encoder(&descriptor);
                    let start = std::time::Instant::now();
                    optimizer.encode_step(&mut encoder, &Step::new()).expect("a good step");
                    total += start.elapsed();
                    // Dropped, not submitted: only the recording is measured.
                    black_box(&encoder);
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rules, tensors, encode);
criterion_main!(benches);
