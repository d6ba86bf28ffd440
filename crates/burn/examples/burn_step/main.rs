//! What a step costs beside Burn's AdamW, in one process: host time until `step` returns, time until the GPU is done,
//! dispatches, submissions, memory.
//!
//! `cargo run --example burn_step [--no-default-features] -- [mlp4 gpt148 small1000 big1] [layers] [clip] [int8] [steps=20]`
//!
//! Gradients are new tensors in each step, as after a backward pass. The two optimizers take turns. With `layers`
//! parameters are made as Burn's layers make them, each in a buffer of its own.

mod count;
mod models;

use std::time::Instant;

use burn::{
    grad_clipping::GradientClippingConfig,
    module::Module,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::Device,
};
use fallline_burn::{Fused, FusedConfig, fallline::StateFormat};
use models::Stack;

/// What was measured of one of the two, in µs.
#[derive(Default)]
struct Times {
    returns: Vec<f64>,
    done: Vec<f64>,
}

impl Times {
    fn show(mut self, name: &str) {
        let quartiles = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            let at = |quarter: usize| times[(times.len() - 1) * quarter / 4];
            format!("{:>9.0} [{:.0}..{:.0}]", at(2), at(1), at(3))
        };
        let (returns, done) = (quartiles(&mut self.returns), quartiles(&mut self.done));
        println!("  {name:<10} returns after {returns} µs, done after {done} µs");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |what: &str| args.iter().any(|arg| arg == what);
    let steps =
        args.iter().find_map(|arg| arg.strip_prefix("steps=")).map_or(Ok(20), str::parse)?;
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    let device = device.autodiff();
    count::install()?;
    let adapter = setup.adapter.get_info();
    println!("{} {}, fusion {}", adapter.name, adapter.driver_info, cfg!(feature = "fusion"));
    for name in models::NAMES {
        let named = args.iter().any(|arg| models::NAMES.contains(&arg.as_str()));
        if named && !has(name) {
            continue;
        }
        let mut theirs = AdamWConfig::new().with_weight_decay(0.01);
        let mut ours = FusedConfig::try_from(theirs.clone())?;
        if has("clip") {
            // Burn clips each tensor, and we all together.
            theirs = theirs.with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)));
            ours = ours.with_max_norm(1.0);
        }
        if has("int8") {
            ours = ours.with_state(StateFormat::Int8);
        }
        let fused = ours.init(&setup)?;
        compare(name, models::stack(name, &device, has("layers")), theirs.init(), &fused, steps)?;
    }
    // Burn's device thread does not always survive the end of `main`.
    std::process::exit(0);
}

fn compare(
    name: &str,
    stack: Stack,
    mut burns: ModuleOptimizer,
    fused: &Fused,
    steps: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let device = stack.device();
    let (mut theirs, mut ours) = (models::copied(&stack), models::copied(&stack));
    drop(stack);
    println!("{name}: {} tensors, {} parameters", theirs.tensors(), theirs.num_params());
    let mut optim = ModuleOptimizer::from(fused.clone());
    let (mut their_times, mut our_times) = (Times::default(), Times::default());
    let in_use = |device: &Device| device.memory_pool_usage().map_or(0, |usage| usage.bytes_in_use);
    const WARM: usize = 4;
    for step in 0..steps + WARM {
        let counts = step + 1 == steps + WARM;
        let before = in_use(&device);
        theirs =
            timed(theirs, step, counts.then_some("Burn"), &mut their_times, |module, grads| {
                burns.step(1e-3, module, grads)
            })?;
        let between = in_use(&device);
        ours = timed(ours, step, counts.then_some("fallline"), &mut our_times, |module, grads| {
            fused.step(&mut optim, 1e-3, module, grads)
        })?;
        if step == 0 {
            let (burns, ours) = (between - before, in_use(&device) - between);
            println!(
                "  Burn's pools grow by {burns} bytes in use with its first step, by {ours} with ours"
            );
            println!("  which has {} bytes of state besides", fused.state_size_bytes());
        }
        if step < WARM {
            (their_times, our_times) = Default::default();
        }
    }
    their_times.show("Burn");
    our_times.show("fallline");
    Ok(())
}

fn timed(
    module: Stack,
    step: usize,
    counts: Option<&str>,
    times: &mut Times,
    take: impl FnOnce(Stack, GradientsParams) -> Stack,
) -> Result<Stack, Box<dyn std::error::Error>> {
    let device = module.device();
    let grads = module.grads(step);
    device.sync()?;
    if counts.is_some() {
        count::begin();
    }
    let start = Instant::now();
    let module = take(module, grads);
    let returned = start.elapsed();
    device.sync()?;
    let done = start.elapsed();
    match counts {
        // Counting takes time.
        Some(name) => println!("  {name:<10} {}", count::end()),
        None => {
            times.returns.push(returned.as_secs_f64() * 1e6);
            times.done.push(done.as_secs_f64() * 1e6);
        }
    }
    Ok(module)
}
