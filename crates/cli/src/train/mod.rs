//! `fallline train`: a small model on real data, end to end on the GPU.
//!
//! | module    | what it holds                                                          |
//! |-----------|------------------------------------------------------------------------|
//! | `models`  | what can be trained, with its data and its kernels                     |
//! | `file`    | `--config`: all of a run in a file                                     |
//! | `recipe`  | learning rate and options of each rule                                 |
//! | `run`     | one run: settings, rounds, the curve                                   |
//! | `setup`   | what its optimizer is built of                                         |
//! | `training` | a run under way                                                       |
//! | `pace`    | how far the host is ahead of the GPU                                   |
//! | `progress` | what a checkpoint keeps of a run besides the optimizer                |
//! | `checkpoints` | where and when a run is saved, and what it continues               |
//! | `log`     | what the monitored steps tell                                          |
//! | `find_lr` | learning rates tried out instead of a run                              |
//! | `interrupt` | Ctrl-C                                                               |
//! | `number`  | numbers as text, that come back to the bit                             |
//! | `schedule`  | the learning rate of each step                                         |
//! | `watch`   | what the optimizer reports of a round's steps                          |
//! | `random`  | the generator behind `--seed`                                          |
//! | `report`  | table, CSV and JSON                                                    |
//! | `plot`    | the picture                                                            |

mod checkpoints;
mod file;
mod find_lr;
pub(crate) mod interrupt;
mod log;
mod models;
mod number;
mod pace;
mod plot;
mod progress;
pub(crate) mod random;
pub(crate) mod recipe;
mod report;
mod run;
mod schedule;
mod setup;
mod training;
mod watch;

use std::{path::PathBuf, sync::Arc};

use anyhow::ensure;

use self::{
    checkpoints::{CheckpointArgs, Saves},
    file::File,
    log::LogArgs,
    models::{Model, ModelArgs, ModelName},
    run::{Run, Settings},
    schedule::{Chosen, ScheduleArgs},
};
use crate::{
    Outcome,
    around::Around,
    config,
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::Outputs,
    precision::PrecisionArgs,
    print,
    rule::RuleName,
};

/// Options of `fallline train`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, after_long_help = long_help())]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The run as a file has it: its settings, the rule with all of its options, parameter groups, schedules. Flags beside
    /// it take the place of what the file says
    #[arg(long, value_name = "RUN.toml", conflicts_with_all = ["rule", "compare"])]
    config: Option<PathBuf>,

    /// The optimizer; sgd is with momentum 0.9
    #[arg(long, value_enum, default_value_t = RuleName::ADAMW)]
    rule: RuleName,

    /// Learning rate, after any warm-up; falls along a half cosine to 0 unless there is a --schedule, or
    /// stays if the rule is schedule-free or, as rprop's, fixed [default: the rule's]
    #[arg(long, value_name = "LR", allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Train some steps with learning rates that grow from 1e-7 to 10, and tell at which the loss falls fastest (-o draws
    /// the losses, --csv lists them)
    #[arg(long, conflicts_with_all = ["lr", "compare", "schedule", "warmup", "checkpoint_every", "checkpoints", "resume", "log", "json"])]
    find_lr: bool,

    /// Train with several optimizers from the same beginning and draw them in one picture
    #[arg(
        long,
        value_name = "RULE,RULE,…",
        value_enum,
        value_delimiter = ',',
        conflicts_with_all = ["rule", "lr"]
    )]
    compare: Vec<RuleName>,

    /// Seed of split, initial weights, order, rounding and what is written: the same seed gives the same curve, bit
    /// for bit [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    #[command(flatten)]
    schedule: ScheduleArgs,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    around: Around,

    /// Draw the curves in FILE: a thin line through all steps, and the tests
    #[arg(short = 'o', long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write the curves to FILE as a table, with a line for each step
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write the result to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  fallline train -o train.svg                   30 epochs with AdamW, drawn in train.svg
  fallline train --rule sgd --lr 0.1 --epochs 5
  fallline train --compare adamw,lion,sgd --svg three.svg --csv three.csv
  fallline train --param bf16 --master remainder --loss-scale dynamic
                                                as accurate as f32, in 16-bit parameters
  fallline train --schedule wsd,num_decay_steps=300 --warmup 100
                                                another schedule: `fallline schedule --help`
  fallline train --checkpoint-every 500 --resume
                                                goes on where an earlier one has stopped
  fallline train --log run.jsonl && fallline plot run.jsonl -o run.svg
                                                norms, update ratios and learning rates
  fallline train --rule sgd --find-lr -o lr.svg which learning rate?
  fallline train --ema-decay 0.99               and how good the average of the parameters is
  fallline train --model gpt -o gpt.svg         a GPT learns to write Shakespeare, some minutes
  fallline train --rule rprop --batch all --epochs 60
                                                a rule for gradients of all data
  fallline train --config run.toml --resume     a run as a file has it: --help lists its keys";

/// What is behind the options of `--help`.
fn long_help() -> String {
    [HELP, CONFIG, config::HELP, CONFIG_END].concat()
}

const CONFIG: &str = "\n
RUN.toml, of which examples/train.toml in the sources is one:
  [train]                      the run's own settings, by the names of flags
  model = \"perceptron\"         and batch_size, epochs, hidden; or of a GPT steps, eval_interval, n_layer,
                               n_head, n_embd, block_size, sample, temperature
  seed = 0
  warmup = 0
  param = \"f32\"                and grad
";

const CONFIG_END: &str = "\
Schedules are as long as the run unless they say otherwise, and metrics are the test losses. What the file
leaves out is as without it: seed, sizes, the model's schedule, with [clip] its limit to the norm; but options
of the rule are torch's, lr too. Flags beside the file take the place of what it says: --lr of [optimizer]'s,
to which groups keep their ratio, --schedule of [schedule], --loss-scale of [loss_scale], --clip of norm, others
of the key of their name. What a [[group]] says itself stays.";

/// What is asked for.
struct Request {
    name: ModelName,
    model: Box<dyn Model>,
    /// Each rule with its learning rate.
    rules: Vec<(RuleName, f64)>,
    settings: Settings,
}

impl Args {
    /// By flags alone, or by a file and what flags say beside it.
    fn request(&self) -> anyhow::Result<Request> {
        if let Some(lr) = self.lr {
            // The kernels take it as f32.
            let fits = lr >= 0.0 && lr <= f64::from(f32::MAX);
            ensure!(fits, "--lr must be a finite number >= 0, found {lr:?}");
        }
        let monitor = self.log.monitor();
        let Some(path) = &self.config else {
            let model = self.model.build()?;
            let mut numerics = self.precision.numerics()?;
            numerics.clip = numerics.clip.or(model.default_clip());
            let schedule = self.schedule.chosen(model.plan().steps)?;
            let (seed, around) = (self.seed.unwrap_or(0), self.around.with_defaults());
            let settings = Settings { seed, numerics, around, schedule, monitor, config: None };
            let (name, rules) = (self.model.name(), self.rules(&*model)?);
            return Ok(Request { name, model, rules, settings });
        };
        let file = File::read(path)?;
        let name = self.model.clone().or(file.model.clone()).name();
        let model = file.model(&self.model)?;
        let seed = self.seed.or(file.run.seed).unwrap_or(0);
        let warmup = self.schedule.warmup.or(file.run.warmup);
        let configured = file.configure(self, &*model)?;
        let rules = vec![configured.rule()?];
        let settings = Settings {
            seed,
            numerics: configured.numerics,
            around: configured.around(),
            schedule: Chosen { schedule: None, warmup },
            monitor,
            config: Some(Arc::new(configured)),
        };
        Ok(Request { name, model, rules, settings })
    }

    /// Each rule with its learning rate.
    fn rules(&self, model: &dyn Model) -> anyhow::Result<Vec<(RuleName, f64)>> {
        if self.compare.is_empty() {
            return Ok(vec![(self.rule, self.lr.unwrap_or(model.default_lr(self.rule)))]);
        }
        for (index, rule) in self.compare.iter().enumerate() {
            ensure!(!self.compare[..index].contains(rule), "--compare names {rule} twice");
        }
        Ok(self.compare.iter().map(|&rule| (rule, model.default_lr(rule))).collect())
    }

    /// The files to be written, none of which is read.
    fn outputs(&self) -> Outputs {
        Outputs::beside(&self.config.iter().map(PathBuf::as_path).collect::<Vec<_>>())
    }
}

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    let Request { name, model, rules, settings } = args.request().map_err(usage)?;
    let model = model.as_ref();
    for rule in &rules {
        let setup = settings.setup(model, *rule).map_err(usage)?;
        if args.find_lr {
            find_lr::check(&setup.assigned.groups).map_err(usage)?;
        }
    }
    if let (true, [rule]) = (args.find_lr, rules.as_slice()) {
        return find_lr::run(args, model, *rule, &settings, device);
    }
    let log_format = args.log.format().map_err(usage)?;
    let saves = args.checkpoints.open(!args.compare.is_empty())?;
    let mut outputs = args.outputs();
    let svg = outputs.open_any(args.svg.as_deref())?;
    let csv = outputs.open_any(args.csv.as_deref())?;
    let json = outputs.open_any(args.json.as_deref())?;
    let log = args.log.open(log_format, &mut outputs)?;
    let gpu = device.open()?;
    let adapter = AdapterReport::new(&gpu.adapter_info());

    let names = report::Names::of(rules.iter().map(|(rule, _)| *rule));
    if let Some(checkpoint) = saves.begins_from() {
        print_line(&format!("Continued from {}", print::path(checkpoint)))?;
    }
    print_line(&report::heading(names, &adapter, model, &settings))?;
    let bar = print::progress(rules.len() * model.plan().rounds().count(), "training");
    bar.inc(model.plan().rounds().take_while(|round| round.end <= saves.begins_at()).count() as u64);
    interrupt::listen()?;
    let mut runs = Vec::new();
    for (rule, lr) in rules {
        let run = run::train(&gpu, model, (rule, lr), &settings, &saves, log.as_ref(), |point| {
            bar.inc(1);
            bar.suspend(|| print_line(&report::row(names, rule, point)))
        })?;
        let is_stopped = run.stopped.is_some();
        runs.push(run);
        if is_stopped {
            break;
        }
    }
    bar.finish_and_clear();
    let stopped = runs.last().filter(|run| run.stopped.is_some()).cloned();
    // Stopped before its first test.
    runs.retain(|run| !run.curve.is_empty());
    if runs.is_empty() {
        return stop(stopped.as_ref(), model, &saves);
    }

    if let Some(svg) = &svg {
        svg.write(plot::svg(&runs, &adapter, model, &settings)?.as_bytes())?;
    }
    if let Some(csv) = &csv {
        csv.write(report::csv(&runs, model).as_bytes())?;
    }
    if let Some(json) = &json {
        json.write_json(&report::json(&runs, &adapter, name, &settings))?;
    }
    for run in &runs {
        print_line(&report::summary(run, model))?;
        if !run.last().train_loss.is_finite() {
            let (rule, lr) = (run.rule, run.lr);
            print::warn(format_args!("{rule} diverged: try a smaller --lr than {lr:?}"));
        }
        if run.skipped().is_some_and(|skipped| skipped as usize == run.steps()) {
            let (rule, scale) = (run.rule, settings.numerics.loss_scale);
            print::warn(format_args!(
                "{rule} skipped every step: try a smaller --loss-scale than {scale}"
            ));
        }
    }
    for run in &runs {
        if let Some(sample) = &run.sample {
            print_line(&format!("\nWritten after {}:\n\n{sample}\n", run.rule))?;
        }
    }
    let files: Vec<String> = svg.iter().chain(&csv).map(|file| print::path(file.path())).collect();
    if !files.is_empty() {
        print_line(&format!("The curves are in {}", files.join(" and ")))?;
    }
    if let Some(log) = &log {
        print_line(&format!("The log is in {}", print::path(log.path())))?;
    }
    stop(stopped.as_ref(), model, &saves)
}

/// Says where a run has stopped, if it has, and how it goes on.
fn stop(stopped: Option<&Run>, model: &dyn Model, saves: &Saves) -> anyhow::Result<Outcome> {
    let Some((run, stopped)) = stopped.and_then(|run| Some((run, run.stopped.as_ref()?))) else {
        return Ok(Outcome::Good);
    };
    let (steps, all) = (run.steps(), model.plan().steps);
    print_line(&match &stopped.path {
        None => format!(
            "{} stopped after step {steps} of {all}, and is not saved: --compare saves no runs",
            run.rule
        ),
        Some(path) => format!(
            "{} stopped after step {steps} of {all}, and is saved in {}. This goes on with it:\n\n  {}\n",
            run.rule,
            print::path(path),
            saves.resume_command()
        ),
    })?;
    Ok(Outcome::Interrupted)
}

fn print_line(line: &str) -> anyhow::Result<()> {
    print::print(format_args!("{line}\n"))
}
