//! `fallline race`: optimizers on a function of two numbers, and the paths that they take.
//!
//! | module      | what it holds                                                      |
//! |-------------|--------------------------------------------------------------------|
//! | `landscape` | the functions: value, gradient in WGSL, start, minima, view        |
//! | `entrant`   | a rule by name, and the learning rates that it tries               |
//! | `run`       | all racers in one optimizer, step by step on the GPU               |
//! | `map`       | the picture                                                        |
//! | `report`    | table, CSV and JSON                                                |

mod entrant;
mod landscape;
mod map;
mod report;
mod run;

use std::path::PathBuf;

use anyhow::ensure;

use self::{entrant::Entrant, landscape::Landscape};
use crate::{
    Outcome,
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::Outputs,
    print,
};

const MAX_STEPS: u32 = 10_000;

/// Options of `fallline race`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The function
    #[arg(value_enum)]
    landscape: Landscape,

    /// Who takes part: rules, momentum and nesterov (sgd with one of 0.9), each with a learning rate or
    /// without: then one of 1e-4, 2e-4, 5e-4, … 50 is chosen
    #[arg(
        long,
        value_name = "RULE[=LR],…",
        value_delimiter = ',',
        default_value = "sgd,momentum,nesterov,rmsprop,adamw,lion"
    )]
    rules: Vec<Entrant>,

    /// Steps of each
    #[arg(long, value_name = "N", default_value_t = 300)]
    steps: u32,

    /// Draw the paths in FILE
    #[arg(short = 'o', long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write the paths to FILE as a table
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write the result to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const HELP: &str = "\
The learning rate is the smallest whose path stays near the map and comes down, in the second half of its
steps and by the logarithm of its height above the minimum, nine tenths of the way that the best comes.
All racers, of every rule and learning rate, step in the same compute passes.

Examples:
  fallline race rosenbrock -o race.svg          six rules in the valley
  fallline race saddle --rules sgd,momentum,adamw --steps 100 -o saddle.svg
  fallline race beale --rules adamw=0.1,lion=0.01 --csv paths.csv";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    args.check().map_err(usage)?;
    let mut outputs = Outputs::default();
    let svg = outputs.open_any(args.svg.as_deref())?;
    let csv = outputs.open_any(args.csv.as_deref())?;
    let json = outputs.open_any(args.json.as_deref())?;
    let gpu = device.open()?;
    let adapter = AdapterReport::new(&gpu.adapter_info());

    let (landscape, steps) = (args.landscape, args.steps);
    let paths = run::race(&gpu, landscape, &args.rules, steps)?;
    print::print(report::table(landscape, steps, &paths, &adapter))?;
    if let Some(svg) = &svg {
        svg.write(map::svg(landscape, &paths, steps, &adapter)?.as_bytes())?;
    }
    if let Some(csv) = &csv {
        csv.write(report::csv(landscape, &paths).as_bytes())?;
    }
    if let Some(json) = &json {
        json.write_json(&report::json(landscape, steps, &paths, &adapter))?;
    }
    for path in paths.iter().filter(|path| !path.stayed) {
        let (name, lr) = (&path.name, path.lr);
        print::warn(format_args!("{name} left the map: try a smaller learning rate than {lr}"));
    }
    let files: Vec<String> = svg.iter().chain(&csv).map(|file| print::path(file.path())).collect();
    if !files.is_empty() {
        print::print(format_args!("The paths are in {}\n", files.join(" and ")))?;
    }
    Ok(Outcome::Good)
}

impl Args {
    fn check(&self) -> anyhow::Result<()> {
        entrant::check(&self.rules)?;
        let steps = self.steps;
        ensure!(
            (1..=MAX_STEPS).contains(&steps),
            "--steps must be 1 to {MAX_STEPS}, found {steps}"
        );
        Ok(())
    }
}
