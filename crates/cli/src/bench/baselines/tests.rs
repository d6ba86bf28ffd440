//! The baselines compute what the engine computes.

use anyhow::{Context, Result};
use fallline::{
    Adam, AdamW, Gpu, Group, IntoRule, Lion, Optimizer, Sgd, Step, TensorId, TensorSpec,
    wgpu::{BufferUsages, CommandEncoderDescriptor, ComputePassDescriptor, Limits},
};

use super::*;

const LR: f64 = 0.01;

fn specs() -> Vec<TensorSpec> {
    // One is ragged, one takes several windows of the restricted binding size.
    vec![TensorSpec::new("a", [3, 5]), TensorSpec::new("b", [50_000]), TensorSpec::new("c", [1])]
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0005;
    (0..len).map(value).collect()
}

fn read(gpu: &Gpu, tensors: &Tensors, tensor: usize, len: usize) -> Result<Vec<f32>> {
    let size = (len * 4) as u64;
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let staging = crate::compute::buffer(gpu, "test readback", size, usage);
    let descriptor = CommandEncoderDescriptor { label: Some("test readback") };
    let mut encoder = gpu.device().create_command_encoder(&descriptor);
    encoder.copy_buffer_to_buffer(&tensors.buffers[tensor][0], 0, &staging, 0, size);
    gpu.queue().submit([encoder.finish()]);
    let mut values = crate::compute::read(gpu, &staging)?;
    // A buffer of one element is longer than it.
    values.truncate(len);
    Ok(values)
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let tolerance = 1e-6 + 1e-5 * expected.abs();
        assert!((found - expected).abs() <= tolerance, "{what}[{i}]: {found}, not {expected}");
    }
}

fn agrees(rule: impl IntoRule) -> Result<()> {
    let rule = rule.into_rule();
    let small = Limits { max_storage_buffer_binding_size: 1 << 17, ..Limits::default() };
    let gpu = Gpu::from_env()?.restrict_limits(&small)?;
    let specs = specs();
    let known = Known::new(&*rule).context("a rule that the baselines know")?;
    let slots = rule.slots(&specs[0]).len();
    let mut optimizer = Optimizer::arena(&gpu, &[Group::new("all", rule.clone())], &specs)?;
    let (first, second) = (Tensors::new(&gpu, &specs, slots)?, Tensors::new(&gpu, &specs, slots)?);
    let per_tensor = PerTensor::new(&gpu, known, &first)?;
    let unfused = Unfused::new(&gpu, known, &second)?;
    let lens: Vec<usize> = specs.iter().map(|spec| spec.shape.iter().product()).collect();
    for (index, &len) in lens.iter().enumerate() {
        let param = values(len, index);
        optimizer.write_param(TensorId::new(index), &param)?;
        for tensors in [&first, &second] {
            gpu.queue().write_buffer(&tensors.buffers[index][0], 0, bytemuck::cast_slice(&param));
        }
    }
    for t in 1..=4 {
        for (index, &len) in lens.iter().enumerate() {
            let grad = values(len, 10 * t + index);
            optimizer.write_grad(TensorId::new(index), &grad)?;
            for tensors in [&first, &second] {
                let buffer = &tensors.buffers[index][1];
                gpu.queue().write_buffer(buffer, 0, bytemuck::cast_slice(&grad));
            }
        }
        let scalars = Scalars::new(&*rule, LR, i32::try_from(t)?);
        per_tensor.write(&gpu, &scalars);
        unfused.write(&gpu, &scalars);
        let descriptor = CommandEncoderDescriptor { label: Some("test") };
        let mut encoder = gpu.device().create_command_encoder(&descriptor);
        {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            optimizer.record_step(&mut pass, &Step::lr(LR))?;
            per_tensor.record(&mut pass);
            unfused.record(&mut pass);
        }
        gpu.queue().submit([encoder.finish()]);
    }
    for (index, &len) in lens.iter().enumerate() {
        let expected = optimizer.read_param(TensorId::new(index))?;
        assert_ne!(expected, values(len, index), "{rule:?}: nothing was done");
        close(&read(&gpu, &first, index, len)?, &expected, &format!("{rule:?} per tensor {index}"));
        close(&read(&gpu, &second, index, len)?, &expected, &format!("{rule:?} unfused {index}"));
    }
    Ok(())
}

#[test]
fn adamw_agrees_with_the_engine() -> Result<()> {
    agrees(AdamW::new().weight_decay(0.1))
}

#[test]
fn adam_agrees_with_the_engine() -> Result<()> {
    agrees(Adam::default())
}

#[test]
fn sgd_agrees_with_the_engine() -> Result<()> {
    agrees(Sgd::new().momentum(0.9))
}

#[test]
fn lion_agrees_with_the_engine() -> Result<()> {
    agrees(Lion::new().weight_decay(0.1))
}
