//! Mixed precision without asking the host: parameters in bf16 with a remainder, gradients in f16, and
//! a loss scale that the loss kernel and the engine share in one buffer.
//!
//! Minimizes `1e-6 Σ (p - goal)²`, whose gradients f16 could not tell from zero near the goal.

use fallline::{
    AdamW, ComputeKernel, Dtype, DynamicScale, Gpu, Group, LossScaler, Optimizer, Options,
    Precision, Step, TensorSpec,
};
use fallline_shaders::{formats, join, packing};

const GRADIENT: &str = "
    struct LossScale { scale: f32, reciprocal: f32, rest0: vec2<f32>, rest1: vec4<f32> }
    @group(0) @binding(0) var<storage, read_write> p: array<vec2<u32>>;
    @group(0) @binding(1) var<storage, read_write> gradient: array<vec2<u32>>;
    @group(0) @binding(2) var<uniform> loss: LossScale;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&p)) {
            let value = bf16_decode(unpack_codes(p[id.x]));
            let goal = (vec4<f32>(f32(4u * id.x)) + vec4<f32>(0.0, 1.0, 2.0, 3.0)) / 1000.0;
            let scaled = loss.scale * (2e-6 * (value - goal));
            gradient[id.x] = pack_codes(f16_encode(scaled));
        }
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::from_env()?;
    // So large that the first gradients overflow, to show what then happens.
    let rule = DynamicScale { init_scale: 2f64.powi(40), growth_interval: 100, ..<_>::default() };
    let scaler = LossScaler::dynamic(&gpu, rule)?;
    let groups = [Group::new("all", AdamW::new().weight_decay(0.0))];
    let spec = TensorSpec::new("p", [1000]).dtype(Dtype::Bf16).grad_dtype(Dtype::F16);
    let tensors = [spec.precision(Precision::Remainder)];
    let options =
        Options { loss_scaler: Some(scaler.clone()), max_norm: Some(1.0), ..Options::default() };
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &tensors, &options)?;
    let p = optimizer.id("p").ok_or("the tensor was just given")?;

    let source =
        join(&[formats::BF16, formats::F16, formats::F16_NEAREST, packing::HALVES]) + GRADIENT;
    let (write, uniform) = (ComputeKernel::WRITE, ComputeKernel::UNIFORM);
    let kernel = ComputeKernel::new(&gpu, "gradient", &source, &[], &[write, write, uniform])?;
    let slices = [optimizer.param(p)?, optimizer.grad(p)?, scaler.buffer().slice(..)];
    let bound = slices.map(|slice| slice.try_into().expect("not empty"));
    let gradient = kernel.bind(&bound, [250u32.div_ceil(64), 1, 1])?;

    let (mut reports, mut last) = (Vec::new(), None);
    for step in 0..400 {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        gradient.record(&mut encoder.begin_compute_pass(&Default::default()), &[]);
        optimizer.encode_step(&mut encoder, &Step::lr(0.05 * (1.0 - f64::from(step) / 400.0)))?;
        gpu.queue().submit([encoder.finish()]);
        reports.append(&mut optimizer.poll_reports()?); // what has arrived; never a wait
        last = reports.pop().or(last);
    }
    last = optimizer.wait_reports()?.pop().or(last);
    let last = last.ok_or("400 steps have a report")?;
    println!(
        "{} of {} steps skipped, loss scale {}",
        last.skipped_total, last.step, last.loss_scale
    );

    let found = optimizer.read_master(p)?;
    let worst = (0u16..).zip(&found).map(|(i, p)| (p - f32::from(i) / 1000.0).abs());
    let worst = worst.fold(0.0, f32::max);
    println!("{}: farthest from its goal: {worst:.1e}", gpu.adapter_info().name);
    if worst < 4e-3 { Ok(()) } else { Err("did not converge".into()) }
}
