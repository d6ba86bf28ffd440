//! `fallline replay`: a recorded training run through the engine, and a comparison.

mod compare;
mod config;
mod trace;

use std::path::PathBuf;

use anyhow::Context;
use fallline::{Gpu, Optimizer, Step, TensorId, TensorSpec};
use safetensors::{Dtype, tensor::TensorView};

use crate::{
    Outcome,
    device::{AdapterReport, DeviceArgs},
    output,
};
use compare::{Report, Tolerance};
use config::Config;
use trace::Trace;

/// Options of `fallline replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The recorded run, a safetensors file
    trace: PathBuf,

    /// The optimizer and its groups, a TOML file
    #[arg(long)]
    config: PathBuf,

    /// Write the final parameters and state here, as safetensors
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the report here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Relative tolerance
    #[arg(long, default_value_t = 1.3e-6)]
    rtol: f64,

    /// Absolute tolerance
    #[arg(long, default_value_t = 1e-5)]
    atol: f64,
}

const HELP: &str = "\
TRACE holds f32 tensors under these names:
  param/<name>                 initial parameter
  grad/<t>/<name>              gradient of step t = 1, 2, ...; absent: none in that step
  lr/<t>                       base learning rate of step t; absent: the configured one
  expect/<name>                final parameter, to compare with
  expect_state/<slot>/<name>   final exp_avg, exp_avg_sq, max_exp_avg_sq or momentum_buffer
CONFIG, with torch's names:
  [optimizer]
  rule = \"adamw\"               adamw, adam, sgd or lion
  lr = 1e-3                    and betas, eps, weight_decay, amsgrad, maximize,
                               momentum, dampening, nesterov, as the rule has them
  [[group]]                    any number of them
  tensors = [\"*.bias\"]         which tensors
  weight_decay = 0.0           what differs; a group with its own lr keeps its ratio to the base
A value passes if |found - expected| <= atol + rtol * |expected|; the defaults are torch's for f32.
tools/record_torch.py records such a trace from any PyTorch optimizer.

Examples:
  fallline replay run.safetensors --config run.toml
  fallline replay run.safetensors --config run.toml --json report.json --out final.safetensors";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    let tolerance = Tolerance::new(args.rtol, args.atol)?;
    let config = Config::read(&args.config)?;
    let bytes = std::fs::read(&args.trace)
        .with_context(|| format!("cannot read {}", args.trace.display()))?;
    let trace = Trace::parse(&bytes).with_context(|| args.trace.display().to_string())?;
    let specs = config
        .assign(trace.params.iter().map(|(name, view)| TensorSpec::new(name, view.shape())))
        .with_context(|| args.config.display().to_string())?;

    output::check_writable(args.out.iter().chain(&args.json))?;
    let gpu = device.open()?;
    let optimizer = train(&gpu, &config, &specs, &trace)?;
    let report = Report {
        adapter: AdapterReport::new(&gpu.adapter_info()),
        rule: config.rule_name(),
        steps: trace.steps,
        tolerance,
        tensors: compare::all(&optimizer, &trace, tolerance)?,
    };
    if let Some(path) = &args.out {
        write_result(&optimizer, path)?;
    }
    if let Some(path) = &args.json {
        output::write_json(path, &report.to_json())?;
    }
    output::print(&report)?;
    Ok(if report.passed() { Outcome::Good } else { Outcome::Failed })
}

/// Feeds every recorded gradient to the engine.
fn train(
    gpu: &Gpu,
    config: &Config,
    specs: &[TensorSpec],
    trace: &Trace<'_>,
) -> anyhow::Result<Optimizer> {
    let mut optimizer = Optimizer::arena(gpu, &config.groups, specs)?;
    compare::check(&optimizer, trace)?;
    let ids: Vec<TensorId> = optimizer.tensors().map(|(id, _)| id).collect();
    for (id, view) in ids.iter().zip(trace.params.values()) {
        optimizer.write_param(*id, &trace::values(view))?;
    }
    let bar = output::progress(trace.steps as usize, "replay");
    for t in 1..=trace.steps {
        let mut absent = Vec::new();
        for (id, name) in ids.iter().zip(trace.params.keys()) {
            match trace.grads.get(&t).and_then(|grads| grads.get(name)) {
                Some(view) => optimizer.write_grad(*id, &trace::values(view))?,
                None => absent.push(*id),
            }
        }
        let rates = config.rates(trace.lrs.get(&t).copied())?;
        let step = Step::lr_per_group(&rates).without_grad(&absent);
        optimizer.step(&step).with_context(|| format!("step {t}"))?;
        bar.inc(1);
    }
    gpu.wait()?;
    bar.finish_and_clear();
    Ok(optimizer)
}

/// Writes `param/<name>` and `state/<slot>/<name>`.
fn write_result(optimizer: &Optimizer, path: &std::path::Path) -> anyhow::Result<()> {
    let mut tensors = Vec::new();
    for (id, spec) in optimizer.tensors() {
        let mut add = |name: String, values: Vec<f32>| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((name, spec.shape.clone(), bytes));
        };
        add(format!("param/{}", spec.name), optimizer.read_param(id)?);
        for slot in optimizer.group_of(id)?.rule.slots() {
            add(format!("state/{slot}/{}", spec.name), optimizer.read_state(id, slot)?);
        }
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    output::write(path, &safetensors::serialize(views, None)?)
}
