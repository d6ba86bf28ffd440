//! `fallline`: the optimizer step on the GPU, from the command line.
//!
//! One module for each command; each has its `Args` and a `run` that returns whether what was asked
//! for came out well. Results go to stdout, everything else to stderr.

mod around;
mod bench;
mod check;
mod compute;
mod config;
mod copy;
mod device;
mod exit;
mod export;
mod info;
mod names;
mod output;
mod picture;
mod plot;
mod precision;
mod print;
mod quantize;
mod race;
mod replay;
#[cfg(test)]
mod repository;
mod rule;
mod schedule;
mod schedulers;
mod table;
mod tensorfile;
mod timing;
mod train;

use std::{cell::RefCell, panic, process::ExitCode};

use clap::{Parser, Subcommand};

/// The optimizer step for machine-learning runtimes on wgpu: train, replay, schedule, quantize, plot, export, bench,
/// check, info.
#[derive(Debug, Parser)]
#[command(name = "fallline", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    device: device::DeviceArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the adapters: driver, limits, features, copy bandwidth
    Info(info::Args),
    /// Check whether this device computes what the engine relies on, and write a page about it
    Check(check::Args),
    /// Train a small model on the GPU, on handwritten digits or Shakespeare, and draw the curves
    Train(Box<train::Args>),
    /// Let optimizers run down a function of two numbers, and draw their paths
    Race(race::Args),
    /// Run a recorded training run through the engine and compare it with what was recorded
    Replay(replay::Args),
    /// Quantize the tensors of a file into codes and scales, and tell the error
    Quantize(quantize::Args),
    /// Turn such a file back into tensors
    Dequantize(quantize::dequantize::Args),
    /// Draw the log of a monitored run: loss, gradient norm, update ratio, learning rate, loss scale
    Plot(plot::Args),
    /// Tell the learning rates of a schedule, and draw them
    Schedule(schedule::Args),
    /// Write an optimizer's step as data, for runtimes on WebGPU that are not in Rust
    Export(Box<export::Args>),
    /// Measure steps of real models against the device's memory traffic and two baselines
    Bench(bench::Args),
}

const EXAMPLES: &str = "\
Examples:
  fallline info                                 which GPUs are there?
  fallline check --html report.html             does this GPU compute what it should?
  fallline train -o train.svg                   train, and draw the curves
  fallline train --compare adamw,lion,sgd -o three.svg
                                                three rules in one picture
  fallline replay run.safetensors --config run.toml
                                                does this GPU compute what PyTorch did?
  fallline quantize model.safetensors small.safetensors --format int4
                                                what would four bits lose?
  fallline plot run.jsonl -o run.svg            how did a run go?
  fallline schedule --config cosine.toml --steps 1000 -o cosine.svg
                                                which learning rates would that be?
  fallline export --model shapes.json -o plan   a step for JavaScript, C++, …
  fallline bench --model gpt2-small --rule adamw
                                                how fast is a step, and how fast could it be?

The adapter can also be chosen with WGPU_ADAPTER_NAME and WGPU_BACKEND.
Exit status: 0 if all is well; 1 if the work failed, or a comparison did; 2 for wrong usage: options, a
config or a variable that mean nothing or contradict each other; 130 if Ctrl-C ended it.";

/// The status of Rust programs that end so.
const PANICKED: u8 = 101;

/// How a command ended that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Good,
    /// A comparison failed; the report is printed already.
    Failed,
    /// Ctrl-C ended it in good order.
    Interrupted,
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    // The engine makes errors of wgpu's panics, and `check` lines of its report: nobody is told twice. Who debugs is.
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
    }
    panic::catch_unwind(run).unwrap_or_else(|_| {
        print::warn(format!("a defect of this program: {}", PANIC.take()));
        ExitCode::from(PANICKED)
    })
}

fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Info(args) => info::run(args, &cli.device),
        Command::Check(args) => check::run(args, &cli.device),
        Command::Train(args) => train::run(args, &cli.device),
        Command::Race(args) => race::run(args, &cli.device),
        Command::Replay(args) => replay::run(args, &cli.device),
        Command::Quantize(args) => quantize::run(args, &cli.device),
        Command::Dequantize(args) => quantize::dequantize::run(args, &cli.device),
        Command::Plot(args) => plot::run(args),
        Command::Schedule(args) => schedule::run(args),
        Command::Export(args) => export::run(args),
        Command::Bench(args) => bench::run(args, &cli.device),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted) => ExitCode::from(train::interrupt::STATUS),
        Err(error) => {
            print::warn(print::message(&error));
            ExitCode::from(exit::status(&error))
        }
    }
}
