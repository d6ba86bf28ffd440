//! `fallline replay`: a recorded training run through the engine, and a comparison.

mod compare;
mod report;
mod trace;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, ensure};
use fallline::{Dtype, Estimate, Gpu, Optimizer, Step, StepReport, TensorId, TensorSpec};
use fallline_checkpoint::Checkpoint;
use safetensors::tensor::TensorView;

use crate::{
    Outcome,
    config::{self, Assigned, Config},
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::{Output, Outputs},
    print,
    schedulers::Schedulers,
    tensorfile::{self, Tensor},
};
pub(crate) use compare::{Difference, Tolerance};
use report::Report;
use trace::{Trace, What};

/// Options of `fallline replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(crate) struct Args {
    /// The recorded run, a safetensors file
    trace: PathBuf,

    /// The optimizer and its groups, a TOML file
    #[arg(long)]
    config: PathBuf,

    /// Write the final parameters, masters and state here, as safetensors; and where parameters are
    /// evaluated, if the trace expects that
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Begin with a checkpoint instead of the initial parameters, behind its step
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,

    /// Save a checkpoint here after the last step
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Write the report here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Relative tolerance
    #[arg(long, default_value_t = Tolerance::default().rtol)]
    rtol: f64,

    /// Absolute tolerance
    #[arg(long, default_value_t = Tolerance::default().atol)]
    atol: f64,
}

/// What is behind the options.
fn help() -> String {
    [BEGIN, config::HELP, END].concat()
}

const BEGIN: &str = "\
TRACE holds tensors under these names, in f32; those with a * may be f16 or bf16 too:
  param/<name>               * initial parameter
  grad/<t>/<name>            * gradient of step t = 1, 2, ..., before unscaling and clipping, in
                               the same format in all steps; absent: none in that step, and so
                               in at most 10000 steps in a row
  hessian/<t>/<name>         * estimate of the Hessian's diagonal, which Sophia takes before step t;
                               in the format of the gradients
  lr/<t>                       learning rate of step t: [optimizer]'s, to which groups keep their
                               ratio, or a vector, with that of each group behind it; absent: the
                               configured ones; a group with a schedule takes none of them
  expect/<name>              * final parameter, to compare with; f32 or in its own format
  expect_master/<name>         final f32 of a 16-bit parameter that is kept with a master
  expect_state/<slot>/<name>   final state, slots by torch's names: exp_avg, momentum_buffer, ...
                               each in its shape: row_var, col_var, slow, ...
  expect_eval/<name>         * where the parameter is evaluated: the x of schedule-free rules, an average
  expect_average/<name>        final average of the parameter, as expect_state/average/<name>
  expect_d                     Prodigy's estimate d after the last step, one number
  expect_report/<what>         a value for every step: norm, of all unscaled gradients before
                               clipping; scale of the loss; skipped, 1 or 0
CONFIG, with torch's names:
";

const END: &str = "\
A value passes if |found - expected| <= atol + rtol * |expected|; the defaults are torch's for f32.
expect_report/skipped must be the same. max_ulp is counted in the format of the expectation; mean_abs
is the mean of |found - expected| over all elements, which shows how far a rounded state drifts.
In --json, groups tells the rule of each group, what its learning rate is scaled by, what comes around
it and in what it keeps its state.
tools/record_torch.py records such a trace from any PyTorch optimizer, and tools/convert_checkpoint.py makes
checkpoints of these. With --resume, reports are compared for the steps that are left.

Examples:
  fallline replay run.safetensors --config run.toml
  fallline replay run.safetensors --config run.toml --json report.json --out final.safetensors
  fallline replay run.safetensors --config run.toml --resume torch.safetensors";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    let tolerance = Tolerance::new(args.rtol, args.atol).map_err(usage)?;
    let config = Config::read(&args.config).map_err(usage)?;
    let mut outputs = Outputs::beside(&[&args.trace, &args.config]);
    let out = outputs.open_any(args.out.as_deref())?;
    let json = outputs.open_any(args.json.as_deref())?;
    let resumed = args.resume.as_ref().map(Checkpoint::open).transpose()?;
    let bytes = tensorfile::read(&args.trace)?;
    let trace = Trace::parse(&bytes).with_context(|| args.trace.display().to_string())?;
    let assigned = config
        .assign(trace.specs()?.into_iter())
        .with_context(|| args.config.display().to_string())
        .map_err(usage)?;
    let schedulers = config
        .schedulers(&assigned.groups, trace.steps)
        .with_context(|| args.config.display().to_string())
        .map_err(usage)?;
    for (t, lr) in &trace.lrs {
        let key = || format!("{}: tensor 'lr/{t}'", args.trace.display());
        let rates = config.rates(&assigned.groups, Some(lr)).with_context(key);
        // A single rate fails by those of the config; of many there are too many or too few.
        if lr.len() == 1 { rates.map_err(usage) } else { rates }?;
    }

    let gpu = device.open()?;
    let replayed = train(&gpu, &config, (&assigned, schedulers), &trace, resumed.as_ref())?;
    let report = Report {
        adapter: AdapterReport::new(&gpu.adapter_info()),
        config: &config,
        replayed: &replayed,
        steps: trace.steps,
        tolerance,
        tensors: compare::all(&replayed, &trace, tolerance)?,
    };
    if let Some(path) = &args.save {
        Checkpoint::save(path, &replayed.optimizer, trace.steps.into(), &())?;
    }
    if let Some(out) = out {
        write_result(&replayed, &out)?;
    }
    if let Some(json) = json {
        json.write_json(&report.to_json())?;
    }
    print::print(&report)?;
    Ok(if report.passed() { Outcome::Good } else { Outcome::Failed })
}

/// How far this device is from a recorded run, both given as what their files hold.
pub(crate) fn in_memory(
    gpu: &Gpu,
    config: &str,
    trace: &[u8],
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Difference>> {
    let config = Config::parse(config)?;
    let trace = Trace::parse(trace)?;
    let assigned = config.assign(trace.specs()?.into_iter())?;
    let schedulers = config.schedulers(&assigned.groups, trace.steps)?;
    let replayed = train(gpu, &config, (&assigned, schedulers), &trace, None)?;
    compare::all(&replayed, &trace, tolerance)
}

/// What a replay leaves behind.
#[derive(Debug)]
struct Replayed {
    optimizer: Optimizer,
    /// What each parameter is evaluated at, if the trace tells; else empty.
    evaluated: Vec<Vec<f32>>,
    /// Of every step, if the optimizer measures.
    reports: Vec<StepReport>,
    /// After the last step, if there is one.
    loss_scale: Option<f32>,
}

/// How many reports the GPU keeps.
const REPORTS_KEPT: u32 = 64;

/// Feeds every recorded gradient to the engine, or those behind a checkpoint.
fn train(
    gpu: &Gpu,
    config: &Config,
    (assigned, mut schedulers): (&Assigned, Schedulers),
    trace: &Trace<'_>,
    resumed: Option<&Checkpoint>,
) -> anyhow::Result<Replayed> {
    let options = config.options(gpu, 0)?;
    let Assigned { specs, groups, .. } = assigned;
    let mut beginning = groups.clone();
    schedulers.begin(&mut beginning)?;
    let mut optimizer = Optimizer::arena_with(gpu, &beginning, specs, &options)?;
    compare::check(&optimizer, config, trace)?;
    let ids: Vec<TensorId> = optimizer.tensors().map(|(id, _)| id).collect();
    for (id, view) in ids.iter().zip(trace.params.values()) {
        optimizer.write_param(*id, &tensorfile::values(view)?)?;
    }
    let mut taken = 0;
    if let Some(checkpoint) = resumed {
        checkpoint.load(&mut optimizer)?;
        let is_within = |step: &u32| *step <= trace.steps;
        taken = u32::try_from(checkpoint.step()).ok().filter(is_within).with_context(|| {
            let (path, step) = (checkpoint.path().display(), checkpoint.step());
            format!("{path} is of step {step}, but the trace ends with step {}", trace.steps)
        })?;
    }
    (0..taken).for_each(|_| schedulers.step());
    let mut reports = Vec::new();
    let bar = print::progress((trace.steps - taken) as usize, "replay");
    for t in taken + 1..=trace.steps {
        assigned.freeze(&mut optimizer, t, taken + 1)?;
        schedulers.set_rules(&mut optimizer)?;
        let write = |optimizer: &Optimizer, views: Option<&BTreeMap<String, TensorView<'_>>>| {
            let mut absent = Vec::new();
            for (id, name) in ids.iter().zip(trace.params.keys()) {
                match views.and_then(|views| views.get(name)) {
                    Some(view) => optimizer.write_grad(*id, &tensorfile::values(view)?)?,
                    None => absent.push(*id),
                }
            }
            anyhow::Ok(absent)
        };
        if let Some(hessians) = trace.hessians.get(&t) {
            let absent = write(&optimizer, Some(hessians))?;
            optimizer.estimate(&Estimate::diagonal().without(&absent))?;
        }
        let absent = write(&optimizer, trace.grads.get(&t))?;
        let rates = config.rates(groups, trace.lrs.get(&t).map(Vec::as_slice))?;
        let rates = schedulers.lrs(rates);
        let step = Step::lr_per_group(&rates).without_grad(&absent);
        optimizer.step(&step).with_context(|| format!("step {t}"))?;
        schedulers.step();
        if config.measures() && (t % REPORTS_KEPT == 0 || t == trace.steps) {
            reports.extend(optimizer.wait_reports()?);
        }
        bar.inc(1);
    }
    gpu.wait()?;
    bar.finish_and_clear();
    let whole = !config.measures() || reports.iter().map(|r| r.step).eq(taken + 1..=trace.steps);
    ensure!(whole, "the GPU reported {} of {} steps", reports.len(), trace.steps - taken);
    let mut evaluated = Vec::new();
    if trace.expected.iter().any(|expected| matches!(expected.what, What::Eval)) {
        optimizer.eval()?;
        for id in &ids {
            evaluated.push(optimizer.read_param(*id)?);
        }
        optimizer.train()?;
    }
    let loss_scale = options.loss_scaler.map(|scaler| scaler.read()).transpose()?;
    Ok(Replayed { optimizer, evaluated, reports, loss_scale: loss_scale.map(|(scale, _)| scale) })
}

/// Whether the engine keeps the f32 of this parameter, as a copy or in parts.
fn keeps_master(spec: &TensorSpec) -> bool {
    spec.precision.size_bytes() > 0
}

/// Writes `param/<name>`, `master/<name>`, `eval/<name>` and `state/<slot>/<name>`.
fn write_result(replayed: &Replayed, out: &Output) -> anyhow::Result<()> {
    let optimizer = &replayed.optimizer;
    let mut tensors = Vec::new();
    for (id, spec) in optimizer.tensors() {
        let mut add = |name: String, dtype: Dtype, shape: Vec<usize>, values: &[f32]| {
            let bytes = dtype.encode(values).into();
            let dtype = tensorfile::tag(dtype)?;
            tensors.push(Tensor { name, dtype, shape, bytes });
            anyhow::Ok(())
        };
        let (name, shape) = (&spec.name, &spec.shape);
        add(format!("param/{name}"), spec.dtype, shape.clone(), &optimizer.read_param(id)?)?;
        if keeps_master(spec) {
            let master = optimizer.read_master(id)?;
            add(format!("master/{name}"), Dtype::F32, shape.clone(), &master)?;
        }
        if let Some(evaluated) = replayed.evaluated.get(id.index()) {
            add(format!("eval/{name}"), spec.dtype, shape.clone(), evaluated)?;
        }
        for slot in optimizer.slots(id)? {
            let state = optimizer.read_state(id, slot.name)?;
            add(format!("state/{}/{name}", slot.name), Dtype::F32, slot.dims(shape), &state)?;
        }
    }
    tensorfile::write(out, &tensors, &BTreeMap::new())
}
