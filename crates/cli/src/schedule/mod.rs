//! `fallline schedule`: the learning rates of a schedule, as a table and as a picture.
//!
//! | module    | what                                              |
//! | --------- | ------------------------------------------------- |
//! | `config`  | the table `[schedule]`, for other commands too    |
//! | `curve`   | the rates of all steps                            |
//! | `plot`    | the picture                                       |

pub(crate) mod config;
mod curve;
mod plot;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use self::{config::Config, curve::Curve};
use crate::{Outcome, exit::usage, output::Outputs, print};

/// Options of `fallline schedule`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The schedule and the groups' learning rates, a TOML file
    #[arg(long, value_name = "FILE", required_unless_present = "compare")]
    config: Option<PathBuf>,

    /// Several of them, in one picture
    #[arg(
        long,
        value_name = "FILE,FILE,…",
        value_delimiter = ',',
        conflicts_with_all = ["config", "csv"]
    )]
    compare: Vec<PathBuf>,

    /// For how many steps
    #[arg(long, value_name = "N")]
    steps: u32,

    /// Draw the rates in FILE
    #[arg(short = 'o', long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write the rates to FILE as a table: step,lr0,lr1,…, then momentum0,… where it moves
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

const HELP: &str = "\
FILE, with the options of torch and transformers:
  [schedule]
  kind = \"cosine_annealing\"
  T_max = 1000
  eta_min = 1e-5
  base_lrs = [0.1, 0.01]       the learning rate of each group
Kinds of torch: step, multi_step, constant, linear, exponential, polynomial, cosine_annealing,
  cosine_annealing_warm_restarts, one_cycle, cyclic, swa, reduce_on_plateau, sequential, chained
Kinds of transformers, by its functions or in short:
  constant_schedule_with_warmup, constant_with_warmup; linear_schedule_with_warmup,
  linear_with_warmup; cosine_schedule_with_warmup, cosine;
  cosine_with_hard_restarts_schedule_with_warmup, cosine_with_restarts;
  polynomial_decay_schedule_with_warmup, polynomial_with_warmup; inverse_sqrt_schedule,
  inverse_sqrt, noam; cosine_with_min_lr_schedule_with_warmup, cosine_with_min_lr;
  cosine_with_min_lr_schedule_with_warmup_lr_rate, cosine_warmup_with_min_lr; wsd_schedule, wsd;
  greedy_schedule, greedy
sequential and chained consist of others:
  [schedule]
  kind = \"sequential\"
  milestones = [100]           where all but the first begin
  base_lrs = [0.1]
  [[schedule.schedulers]]
  kind = \"linear\"
  total_iters = 100
  [[schedule.schedulers]]
  kind = \"cosine_annealing\"
  T_max = 900
reduce_on_plateau and greedy go by what they are given after each step:
  metrics = [2.3, 1.9, …]      in [schedule]; when these are over, the rates stay
Row t of the table, counted from 0, is what the step after t others takes.

Examples:
  fallline schedule --config cosine.toml --steps 1000 -o cosine.svg
  fallline schedule --config cosine.toml --steps 1000 --csv cosine.csv
  fallline schedule --compare cosine.toml,wsd.toml --steps 1000 -o both.svg";

pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    ensure_steps(args.steps).map_err(usage)?;
    let paths: Vec<&Path> = args.config.iter().chain(&args.compare).map(PathBuf::as_path).collect();
    let mut outputs = Outputs::beside(&paths);
    let svg = outputs.open_any(args.svg.as_deref())?;
    let csv = outputs.open_any(args.csv.as_deref())?;
    let mut curves = Vec::new();
    for path in paths {
        let curve = || Curve::new(name(path), Config::read(path)?, args.steps);
        curves.push(curve().with_context(|| path.display().to_string()).map_err(usage)?);
    }
    if let Some(svg) = svg {
        svg.write(plot::svg(&curves, args.steps)?.as_bytes())?;
    }
    if let (Some(csv), [curve]) = (csv, curves.as_slice()) {
        csv.write(curve.csv().as_bytes())?;
    }
    print::print(curve::summary(&curves))?;
    Ok(Outcome::Good)
}

fn ensure_steps(steps: u32) -> anyhow::Result<()> {
    ensure!(steps > 0, "--steps must be at least 1, found 0");
    Ok(())
}

/// What a file is called in legends.
fn name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).display().to_string()
}
