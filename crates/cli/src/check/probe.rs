//! Small kernels that evaluate one expression for many words.

use anyhow::Result;
use fallline::{ComputeKernel, Gpu, wgpu::BufferUsages};

use crate::compute::{self, Vec4Kernel};

/// What the words are in the kernel's bindings. A conversion on the bits must never see them as numbers, since a
/// subnormal one may be flushed on the way.
#[derive(Clone, Copy, Debug)]
pub(super) enum As {
    Words,
    Floats,
}

/// Evaluates a WGSL expression of `a`, `b` and `c`, vec4s of words or of f32, for each four words of these, which must
/// be as many. It gives a `vec4<u32>`, and may use these functions.
pub(super) fn evaluate(
    gpu: &Gpu,
    (expression, functions): (&str, &str),
    kind: As,
    inputs: [&[u32]; 3],
) -> Result<Vec<u32>> {
    let element = match kind {
        As::Words => "vec4<u32>",
        As::Floats => "vec4<f32>",
    };
    let wgsl = format!(
        "override WORKGROUP_SIZE: u32 = 256u;
        override ROW_WORKGROUPS: u32 = 32768u;
        @group(0) @binding(0) var<storage, read> input_a: array<{element}>;
        @group(0) @binding(1) var<storage, read> input_b: array<{element}>;
        @group(0) @binding(2) var<storage, read> input_c: array<{element}>;
        @group(0) @binding(3) var<storage, read_write> output: array<vec4<u32>>;
        @compute @workgroup_size(WORKGROUP_SIZE)
        fn main(
            @builtin(workgroup_id) workgroup_id: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
        ) {{
            let index = (workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x) * WORKGROUP_SIZE + lane;
            if (index >= arrayLength(&output)) {{ return; }}
            let a = input_a[index];
            let b = input_b[index];
            let c = input_c[index];
            output[index] = {expression};
        }}
        {functions}"
    );
    let len = inputs[0].len();
    let size_bytes = (len as u64 * 4).next_multiple_of(compute::VEC4_BYTES);
    let kinds = [ComputeKernel::READ; 3].into_iter().chain([ComputeKernel::WRITE]);
    let kernel = Vec4Kernel::new(gpu, ("probe", &wgsl), &[], &kinds.collect::<Vec<_>>())?;
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
    let (buffers, staging) = gpu.checked("a probe's buffers", || {
        let buffers = inputs.map(|words| {
            let buffer = compute::buffer(gpu, "probe input", size_bytes, usage);
            gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            buffer
        });
        let output = compute::buffer(gpu, "probe output", size_bytes, usage);
        let mappable = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staging = compute::buffer(gpu, "probe readback", size_bytes, mappable);
        ([&buffers[..], &[output]].concat(), staging)
    })?;
    let bound: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect();
    let dispatch = kernel.bind(&bound, size_bytes)?;
    gpu.checked("a probe", || {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        dispatch.record(&mut encoder.begin_compute_pass(&<_>::default()), &[]);
        encoder.copy_buffer_to_buffer(&buffers[3], 0, &staging, 0, size_bytes);
        gpu.queue().submit([encoder.finish()]);
    })?;
    let mut words: Vec<u32> = compute::read(gpu, &staging)?;
    words.truncate(len);
    Ok(words)
}

/// As `evaluate`, of an expression that gives f32s.
pub(super) fn evaluate_f32(
    gpu: &Gpu,
    (expression, functions): (&str, &str),
    inputs: [&[f32]; 3],
) -> Result<Vec<f32>> {
    let expression = format!("bitcast<vec4<u32>>({expression})");
    let inputs = inputs.map(bytemuck::cast_slice);
    let words = evaluate(gpu, (&expression, functions), As::Floats, inputs)?;
    Ok(words.into_iter().map(f32::from_bits).collect())
}
