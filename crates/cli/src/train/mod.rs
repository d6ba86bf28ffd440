//! `fallline train`: a small model on real data, end to end on the GPU.
//!
//! | module    | what it holds                                                          |
//! |-----------|------------------------------------------------------------------------|
//! | `models`  | what can be trained, with its data and its kernels                     |
//! | `recipe`  | learning rate and options of each rule                                 |
//! | `run`     | one run: settings, rounds, the curve                                   |
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
mod find_lr;
pub(crate) mod interrupt;
mod log;
mod models;
mod number;
mod pace;
mod plot;
mod progress;
mod random;
pub(crate) mod recipe;
mod report;
mod run;
mod schedule;
mod training;
mod watch;

use std::path::PathBuf;

use anyhow::ensure;

use self::{
    checkpoints::{CheckpointArgs, Saves},
    log::LogArgs,
    models::{Model, ModelArgs},
    run::{Run, Settings},
    schedule::ScheduleArgs,
};
use crate::{
    Outcome,
    around::Around,
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::Outputs,
    precision::PrecisionArgs,
    print,
    rule::RuleName,
};

/// Options of `fallline train`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,

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
    /// for bit
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

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

    /// Draw the curves in FILE
    #[arg(short = 'o', long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write the curves to FILE as a table
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
                                                a rule for gradients of all data";

impl Args {
    /// Each rule with its learning rate.
    fn rules(&self, model: &dyn Model) -> anyhow::Result<Vec<(RuleName, f64)>> {
        if let Some(lr) = self.lr {
            // The kernels take it as f32.
            let fits = lr >= 0.0 && lr <= f64::from(f32::MAX);
            ensure!(fits, "--lr must be a finite number >= 0, found {lr:?}");
        }
        if self.compare.is_empty() {
            return Ok(vec![(self.rule, self.lr.unwrap_or(model.default_lr(self.rule)))]);
        }
        for (index, rule) in self.compare.iter().enumerate() {
            ensure!(!self.compare[..index].contains(rule), "--compare names {rule} twice");
        }
        Ok(self.compare.iter().map(|&rule| (rule, model.default_lr(rule))).collect())
    }

    fn settings(&self, model: &dyn Model) -> anyhow::Result<Settings> {
        let mut numerics = self.precision.numerics()?;
        numerics.clip = numerics.clip.or(model.default_clip());
        let schedule = self.schedule.chosen(model.plan().steps)?;
        let (around, monitor) = (self.around.with_defaults(), self.log.monitor());
        Ok(Settings { seed: self.seed, numerics, around, schedule, monitor })
    }
}

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    let model = args.model.build().map_err(usage)?;
    let model = model.as_ref();
    let rules = args.rules(model).map_err(usage)?;
    let settings = args.settings(model).map_err(usage)?;
    for (rule, lr) in &rules {
        settings.rates(model.plan(), &settings.groups(*rule, *lr)).map_err(usage)?;
    }
    if let (true, [rule]) = (args.find_lr, rules.as_slice()) {
        find_lr::check(rule.0).map_err(usage)?;
        return find_lr::run(args, model, *rule, &settings, device);
    }
    let log_format = args.log.format().map_err(usage)?;
    let saves = args.checkpoints.open(!args.compare.is_empty())?;
    let mut outputs = Outputs::default();
    let svg = outputs.open_any(args.svg.as_deref())?;
    let csv = outputs.open_any(args.csv.as_deref())?;
    let json = outputs.open_any(args.json.as_deref())?;
    let log = args.log.open(&mut outputs)?;
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
        let run = run::train(&gpu, model, (rule, lr), &settings, &saves, |point| {
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
    if let (Some(log), Some(format), [run]) = (&log, log_format, runs.as_slice()) {
        log.write(&log::text(&run.records, format)?)?;
    }
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
        json.write_json(&report::json(&runs, &adapter, args.model.model, &settings))?;
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
