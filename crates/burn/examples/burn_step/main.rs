//! What a step costs beside Burn's AdamW, in one process: host time until `step` returns, time until the GPU is done,
//! dispatches, submissions, memory.
//!
//! `cargo run --release --example burn_step [--no-default-features] -- [mlp4 gpt148 small1000 big1] [layers] [clip] [int8] [steps=20]`
//!
//! Gradients are new tensors in each step, as after a backward pass. The two optimizers take turns, and with them Burn's a
//! second time: how far Burn's two are apart is what differences mean nothing below. With `layers` parameters are made as
//! Burn's layers make them, each in a buffer of its own.

mod count;
mod memory;
mod models;
mod times;

use burn::{
    grad_clipping::GradientClippingConfig,
    module::Module,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::Device,
};
use fallline_burn::{Fused, FusedConfig, fallline::StateFormat};
use models::Stack;
use times::Times;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// One of those that are compared.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    optim: ModuleOptimizer,
    /// `None`: Burn's.
    pub(crate) fused: Option<Fused>,
}

impl Contender {
    fn burns(name: &'static str, config: &AdamWConfig) -> Self {
        Self { name, optim: config.init(), fused: None }
    }

    fn ours(fused: Fused) -> Self {
        Self { name: CONTENDERS[1], optim: fused.clone().into(), fused: Some(fused) }
    }

    pub(crate) fn step(&mut self, module: Stack, grads: GradientsParams) -> Stack {
        match &self.fused {
            Some(fused) => fused.step(&mut self.optim, 1e-3, module, grads),
            None => self.optim.step(1e-3, module, grads),
        }
    }
}

fn main() -> Result<()> {
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
        let stack = models::stack(name, &device, has("layers"));
        println!("{name}: {} tensors, {} parameters", stack.tensors(), stack.num_params());
        memory::show(&stack, Contender::burns(CONTENDERS[0], &theirs))?;
        memory::show(&stack, Contender::ours(ours.clone().init(&setup)?))?;
        let contenders = vec![
            Contender::burns(CONTENDERS[0], &theirs),
            Contender::ours(ours.init(&setup)?),
            Contender::burns(CONTENDERS[2], &theirs),
        ];
        compare(stack, contenders, steps)?;
    }
    // Burn's device thread does not always survive the end of `main`.
    std::process::exit(0);
}

/// In the order in which they are shown.
const CONTENDERS: [&str; 3] = ["Burn", "fallline", "Burn again"];

/// Steps that are not measured: kernels are made, and pools find their sizes.
const WARM: usize = 4;

fn compare(stack: Stack, contenders: Vec<Contender>, steps: usize) -> Result<()> {
    let mut runs: Vec<(Contender, Stack, Times)> = contenders
        .into_iter()
        .map(|contender| (contender, models::copied(&stack), Times::default()))
        .collect();
    drop(stack);
    for step in 0..WARM + steps + 1 {
        // Counting takes time: the last step is not measured either.
        let counts = step == WARM + steps;
        for _ in 0..runs.len() {
            let (mut contender, module, mut times) = runs.remove(0);
            let stepped = times::step(&mut contender, module, step, counts)?;
            if counts {
                println!("  {:<10} {}", contender.name, stepped.counted);
            } else if step >= WARM {
                times.push(stepped.returned, stepped.done);
            }
            runs.push((contender, stepped.module, times));
        }
        // Each is the first as often.
        runs.rotate_left(1);
    }
    runs.sort_by_key(|(contender, ..)| CONTENDERS.iter().position(|name| *name == contender.name));
    for (contender, _, times) in &runs {
        times.show(contender.name);
    }
    let [(_, _, burns), others @ ..] = runs.as_slice() else { return Ok(()) };
    for (contender, _, times) in others {
        times.show_beside(contender.name, burns);
    }
    Ok(())
}
