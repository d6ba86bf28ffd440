//! `fallline plot`: the log of a monitored run as a picture.
//!
//! | module   | what it holds                                     |
//! |----------|---------------------------------------------------|
//! | `panels` | what is drawn: from records to lines and marks    |
//! | `axis`   | where an axis has its ticks                       |
//! | `figure` | how it is drawn                                   |

pub(crate) mod axis;
mod figure;
mod panels;

use std::{fs::File, io::BufReader, path::PathBuf};

use anyhow::{Context, Result, ensure};
use fallline::monitor::read_json_lines;

use self::panels::Figure;
use crate::{Outcome, output::Outputs, print};

/// Options of `fallline plot`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The log, as JSON lines
    #[arg(value_name = "RUN.jsonl")]
    log: PathBuf,

    /// Write the picture to FILE
    #[arg(short = 'o', long = "svg", value_name = "FILE.svg")]
    svg: PathBuf,
}

const HELP: &str = "\
The panels, one above the other over the steps:
  loss            if the log has it
  gradient norm   of all gradients, before clipping; the limit, and the one that the 90th
                  percentile of the norms so far suggests
  update ratio    norm of a step's change of the parameters by their norm, for each group
  learning rate   of each group
  loss scale      if it is not 1
Vertical lines mark skipped steps, and the first step whose gradient was not finite, with its tensor.

Examples:
  fallline plot run.jsonl -o run.svg            a picture for a report";

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let svg = Outputs::beside(&[&args.log]).open(&args.svg)?;
    let name = args.log.display();
    let cannot_read = || format!("cannot read {name}");
    let file = File::open(&args.log).with_context(cannot_read)?;
    let records = read_json_lines(BufReader::new(file)).with_context(cannot_read)?;
    ensure!(!records.is_empty(), "{name} has no records");
    let title = args.log.file_name().unwrap_or(args.log.as_os_str()).to_string_lossy();
    svg.write(figure::svg(&Figure::new(&title, &records))?.as_bytes())?;
    print::print(format_args!(
        "{} steps are drawn in {}\n",
        records.len(),
        print::path(svg.path())
    ))?;
    Ok(Outcome::Good)
}
