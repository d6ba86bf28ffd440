//! What rules derive once for each tensor and step, for every number of steps.
#![allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what the engine does")]

use fallline::{Gpu, SlotShape, TensorSpec, wgpu};
use fallline_shaders::{functions, join, rules, structs};

use crate::common::{self, Case, buffer, cases, gpu, read};

/// Steps that f32 counts.
const MOST: u32 = 1 << 24;

/// A lane for each number of steps, with what the rule kept until then.
const MAIN: &str = "
    @group(0) @binding(0) var<storage, read> steps: array<f32>;
    @group(0) @binding(1) var<storage, read> kept: array<Kept>;
    @group(0) @binding(2) var<storage, read> hyper: StepHyper;
    @group(0) @binding(3) var<storage, read_write> found: array<Scalars>;
    override LR: f32;
    @compute @workgroup_size(64)
    fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let index = (workgroup.y * 1024u + workgroup.x) * 64u + lane;
        if (index < arrayLength(&steps)) {
            found[index] = scalars(steps[index], LR, kept[index], hyper);
        }
    }";

/// The scalars of these steps, by the rule's own WGSL.
fn on_gpu(gpu: &Gpu, case: &Case, steps: &[f32], kept: &[f32]) -> Vec<f32> {
    let mut sources = vec![case.rule.source(), structs::SLOTS, functions::DECAY];
    sources.extend(rules::COMMON);
    let device = gpu.device();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("scalars"),
        source: wgpu::ShaderSource::Wgsl((MAIN.to_owned() + &join(&sources)).into()),
    });
    let mut constants = vec![("LR", case.rule.lr())];
    constants.extend(
        case.rule
            .switches(&TensorSpec::new("t", [1]))
            .iter()
            .map(|(name, on)| (*name, f64::from(u8::from(*on)))),
    );
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("scalars"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            ..<_>::default()
        },
        cache: None,
    });
    let mut hyper = [0.0f32; 8];
    for (word, (_, value)) in hyper.iter_mut().zip(case.rule.step_hyper()) {
        *word = value as f32;
    }
    let usage = wgpu::BufferUsages::STORAGE;
    let found = vec![0.0; 4 * steps.len()];
    let buffers = [steps, kept, &hyper, &found].map(|values| buffer(gpu, values, usage));
    let entries: Vec<_> = (0u32..)
        .zip(&buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("scalars"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    common::submit(gpu, |encoder| {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        let workgroups = u32::try_from(steps.len()).unwrap().div_ceil(64);
        pass.dispatch_workgroups(workgroups.min(1024), workgroups.div_ceil(1024), 1);
    });
    read(gpu, &buffers[3])
}

/// Compares these steps with f64: one after the other from the first on, if the rule keeps something.
fn check(gpu: &Gpu, case: &Case, steps: impl Iterator<Item = u32>) {
    let lr = case.rule.lr();
    let mut exact_kept = case.twin.initial();
    let mut kept = exact_kept.map(|kept| kept as f32);
    // What counts the optimizer's steps.
    let counter = case.twin.kept().iter().position(|name| *name == "k");
    let (mut at, mut of_steps, mut exact) = (Vec::new(), Vec::new(), Vec::new());
    let mut worst = 0.0f64;
    let mut steps = steps.peekable();
    while let Some(t) = steps.next() {
        if let Some(counter) = counter {
            (kept[counter], exact_kept[counter]) = ((t - 1) as f32, f64::from(t - 1));
        }
        case.twin.scalars(t, lr as f32, &mut kept);
        exact.extend(case.twin.exact_scalars(t, lr, &mut exact_kept));
        at.push(t as f32);
        // Of the tensor, or of all.
        of_steps.extend(kept);
        of_steps.extend(kept);
        if at.len() == 1 << 20 || steps.peek().is_none() {
            let found = on_gpu(gpu, case, &at, &of_steps);
            for (found, exact) in found.iter().zip(&exact).filter(|(_, exact)| **exact != 0.0) {
                worst = worst.max((f64::from(*found) / exact - 1.0).abs());
            }
            at.clear();
            of_steps.clear();
            exact.clear();
        }
    }
    assert!(worst < 1e-6, "{:?}: {worst:e}", case.rule);
}

#[test]
fn scalars_are_within_1e_6_of_f64_at_many_numbers_of_steps() {
    let gpu = gpu();
    for case in cases() {
        if case.slots().iter().any(|slot| slot.shape == SlotShape::Scalar) {
            check(&gpu, &case, 1..=100_000);
        } else {
            check(&gpu, &case, (1..1 << 15).chain((1 << 15..MOST).step_by(97)).chain([MOST]));
        }
    }
}

#[test]
#[ignore = "minutes"]
fn scalars_are_within_1e_6_of_f64_in_every_step_that_f32_counts() {
    let gpu = gpu();
    for case in cases() {
        check(&gpu, &case, 1..=MOST);
    }
}
