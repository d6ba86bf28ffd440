//! The smallest training loop: a kernel of yours writes gradients, one call records the step.
//!
//! Minimizes `Σ (p - target)²` over 1,000 parameters; everything stays on the GPU until the end.

use fallline::{AdamW, Gpu, Group, Optimizer, Step, TensorSpec, wgpu};

const GRADIENT: &str = "
    @group(0) @binding(0) var<storage, read> p: array<f32>;
    @group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = id.x;
        if (i < arrayLength(&p)) {
            gradient[i] = 2.0 * (p[i] - f32(i) / 1000.0);
        }
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::from_env()?;
    let groups = [Group::new("all", AdamW::new().weight_decay(0.0))];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("p", [1000])])?;
    let p = optimizer.id("p").ok_or("the tensor was just given")?;

    // The runtime's part: a pipeline that reads parameters and writes gradients where the optimizer
    // keeps them.
    let device = gpu.device();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("gradient"),
        source: wgpu::ShaderSource::Wgsl(GRADIENT.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("gradient"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("gradient"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: bound(optimizer.param(p)?) },
            wgpu::BindGroupEntry { binding: 1, resource: bound(optimizer.grad(p)?) },
        ],
    });

    for step in 0..300 {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(1000u32.div_ceil(64), 1, 1);
        }
        let lr = 0.05 * (1.0 - f64::from(step) / 300.0);
        optimizer.encode_step(&mut encoder, &Step::lr(lr))?;
        gpu.queue().submit([encoder.finish()]);
    }

    let found = optimizer.read_param(p)?;
    let worst = (0u16..).zip(&found).map(|(i, p)| (p - f32::from(i) / 1000.0).abs());
    let worst = worst.fold(0.0, f32::max);
    println!("{}: farthest from its target: {worst:.1e}", gpu.adapter_info().name);
    if worst < 1e-3 { Ok(()) } else { Err("did not converge".into()) }
}

fn bound(slice: wgpu::BufferSlice<'_>) -> wgpu::BindingResource<'_> {
    slice.try_into().expect("only a slice without bytes cannot be bound")
}
