//! What monitoring costs: steps of an optimizer with a monitor beside those of the same without one.
//!
//! Both take as many steps as the interval in one submission, in turns, and a ratio is the median of the rounds' ratios.

use std::time::Instant;

use fallline::{AdamW, Gpu, Group, Monitor, Optimizer, Options, Step, TensorSpec};

const ROUNDS: usize = 15;

/// The parameters of GPT-2 with this many blocks of this width, and a vocabulary of 8,192.
fn tensors(blocks: usize, width: usize) -> Vec<TensorSpec> {
    let mut shapes = vec![vec![8192, width], vec![256, width]];
    for _ in 0..blocks {
        let matrices = [3, 1, 4].map(|times| vec![times * width, width]);
        shapes.extend(matrices);
        shapes.push(vec![width, 4 * width]);
        shapes.extend([1, 1, 3, 1, 1, 1, 4, 1].map(|times| vec![times * width]));
    }
    let spec = |(number, shape)| TensorSpec::new(format!("t{number}"), shape);
    shapes.into_iter().enumerate().map(spec).collect()
}

fn optimizer(gpu: &Gpu, options: Options) -> fallline::Result<Optimizer> {
    let group = Group::new("all", AdamW::new().lr(1e-6));
    let optimizer = Optimizer::arena_with(gpu, &[group], &tensors(6, 384), &options)?;
    let ids: Vec<_> = optimizer.tensors().map(|(id, spec)| (id, spec.shape.clone())).collect();
    for (id, shape) in ids {
        let len = shape.iter().product();
        optimizer.write_param(id, &vec![0.02; len])?;
        optimizer.write_grad(id, &vec![1e-3; len])?;
    }
    Ok(optimizer)
}

/// Seconds of as many steps.
fn time(gpu: &Gpu, optimizer: &mut Optimizer, steps: u32) -> fallline::Result<f64> {
    let start = Instant::now();
    for _ in 0..steps {
        optimizer.step(&Step::new())?;
    }
    gpu.wait()?;
    Ok(start.elapsed().as_secs_f64())
}

/// The quartiles, with the median between them.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn main() -> fallline::Result<()> {
    let gpu = Gpu::from_env()?;
    let elems: usize = tensors(6, 384).iter().map(|t| t.shape.iter().product::<usize>()).sum();
    println!("{}, {elems} parameters, {ROUNDS} rounds", gpu.adapter_info().name);
    let plain = Options::default;
    let clipped = || Options { max_norm: Some(1.0), ..Options::default() };
    for (what, options) in [("plain", plain as fn() -> Options), ("clipped", clipped)] {
        for (interval, per_tensor) in [(20, false), (20, true), (1, false), (1, true)] {
            let monitor = Some(Monitor { interval, per_tensor });
            let mut without = optimizer(&gpu, options())?;
            let mut with = optimizer(&gpu, Options { monitor, ..options() })?;
            let mut ratios = Vec::new();
            for round in 0..=ROUNDS {
                // Whoever runs second finds the caches as the first left them.
                let (a, b) = if round % 2 == 0 {
                    let a = time(&gpu, &mut without, interval)?;
                    (a, time(&gpu, &mut with, interval)?)
                } else {
                    let b = time(&gpu, &mut with, interval)?;
                    (time(&gpu, &mut without, interval)?, b)
                };
                // In the first, pages are touched.
                if round > 0 {
                    ratios.push(b / a);
                }
            }
            let [low, median, high] = quartiles(ratios);
            let told = if per_tensor { "of each tensor" } else { "of groups" };
            println!("{what}, every {interval} steps, {told}: {median:.3} ({low:.3} to {high:.3})");
        }
    }
    Ok(())
}
