//! `fallline check`: does this device compute what the engine relies on?
//!
//! | module        | what it holds                                                                  |
//! |---------------|--------------------------------------------------------------------------------|
//! | `contents`    | all checks, as a table of contents                                             |
//! | `subject`     | what a check is, and what it finds                                             |
//! | `known`       | faults of drivers that are known                                               |
//! | `runner`      | runs checks, whatever a driver does                                            |
//! | `report`      | lines and JSON                                                                 |
//! | `page`        | the same as HTML                                                               |
//! | `arithmetic`, `conversions`, `books` | small kernels against the host                          |
//! | `rules`, `combination`, `extra` | every rule in combinations, against the f64 oracle           |
//! | `norms`, `windows`, `tensors`, `places`, `runs`, `memory` | what the engine promises           |
//! | `replays`     | runs that PyTorch recorded                                                     |
//! | `bandwidth`   | speed                                                                          |
//! | `probe`, `numbers` | what several of these use                                                 |

mod arithmetic;
mod bandwidth;
mod books;
mod combination;
mod contents;
mod conversions;
mod extra;
mod known;
mod memory;
mod norms;
mod numbers;
mod page;
mod places;
mod probe;
mod replays;
mod report;
mod rules;
mod runner;
mod runs;
mod subject;
mod tensors;
mod windows;

use std::{panic, path::PathBuf, time::Instant};

use anyhow::{Result, anyhow};
use fallline::{Gpu, GpuOptions, wgpu};

use self::{
    known::FAULTS,
    report::Report,
    runner::Runner,
    subject::{Check, Effort, Limits},
};
use crate::{
    Outcome,
    device::{AdapterReport, DeviceArgs},
    exit::usage,
    output::Outputs,
    print,
};

/// Options of `fallline check`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Only the checks whose names contain one of these
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Every combination of rules, formats and places instead of all pairs, and up to 8 GiB of memory: hours on a
    /// software driver
    #[arg(long, conflicts_with = "quick")]
    all: bool,

    /// Less of everything: each rule once
    #[arg(long)]
    quick: bool,

    /// Use up the memory too. This can freeze a machine whose GPU shares its memory
    #[arg(long)]
    out_of_memory: bool,

    /// Write the report to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the report to FILE as one page of HTML, to go with a bug report
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const HELP: &str = "\
A check is one line: its name, the verdict, its time, the worst that was measured, and where.
  pass           it holds
  fail           it does not; or the driver failed; or a known fault of the driver is gone
  known          it does not, by a known fault of this driver
  not available  the device cannot be asked
Whatever a driver does to one check (an error of its compiler, a lost device, a panic) fails that check, and
the rest goes on. At the end come the checks whose kernels depend on limits once more, with those that every
WebGPU device has; of rules as many there as one step less thorough: with --all those of the default, without
it each once, and with --quick none.
Which combinations: by default all pairs of any two of rule, what goes around it (nothing, caution, cautious weight
decay, update clipping, Lookahead, EMA, SWA), parameter (format and precision), gradient, state, place occur, while a
rule's switches take turns; with --all every combination with nothing around the rule, and these pairs.
What WGSL permits is no failure: subnormal numbers may be flushed, a product and a sum contracted.
The JSON has schema (1), version, effort, passed, counts, seconds, adapter (name, backend, driver), vendor,
device, device_type, system, limits, features, and checks: of each name, proves, limits (adapter or
webgpu_defaults), verdict (pass, fail, known, not_available), measured (null, or value, which may be null,
unit, at, detail), note, seconds.

Examples:
  fallline check --html report.html             a page to send with a bug report
  fallline check --quick                        some seconds' worth
  fallline check rules/adamw norms --json report.json
                                                some of the checks
  fallline check --all --backend dx12           every combination, on another backend";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> Result<Outcome> {
    let effort = match (args.quick, args.all) {
        (true, _) => Effort::Quick,
        (_, true) => Effort::All,
        _ => Effort::Default,
    };
    let checks = chosen(contents::checks(args.out_of_memory), &args.names).map_err(usage)?;
    let mut outputs = Outputs::default();
    let json = outputs.open_any(args.json.as_deref())?;
    let html = outputs.open_any(args.html.as_deref())?;
    let options = device.options()?;
    let gpu = Gpu::open(&options)?;
    let adapter = AdapterReport::new(&gpu.adapter_info());
    print::print(format_args!("{}, {}, {}\n", adapter.name, adapter.backend, adapter.driver))?;
    let report = quietly(|| report(&checks, effort, (&gpu, &options), &|text| print::print(text)))?;
    print::print(format_args!("\n{}\n", report.summary()))?;
    if let Some(json) = json {
        json.write_json(&report)?;
    }
    if let Some(html) = html {
        html.write(page::html(&report).as_bytes())?;
    }
    Ok(report.outcome())
}

/// Those whose names contain one of these, or all.
fn chosen(mut checks: Vec<Check>, names: &[String]) -> Result<Vec<Check>> {
    for name in names {
        if !checks.iter().any(|check| check.name.contains(name)) {
            let families =
                checks.iter().map(Check::family).collect::<std::collections::BTreeSet<_>>();
            let known = families.into_iter().collect::<Vec<_>>().join(", ");
            return Err(anyhow!("no check's name contains '{name}' (families: {known})"));
        }
    }
    let is_meant = |check: &Check| names.iter().any(|name| check.name.contains(name));
    checks.retain(|check| names.is_empty() || is_meant(check));
    Ok(checks)
}

/// Runs them, first with the adapter's limits on this device, then with WebGPU's on another, and says how it goes.
fn report(
    checks: &[Check],
    effort: Effort,
    (gpu, options): (&Gpu, &GpuOptions),
    say: &dyn Fn(String) -> Result<()>,
) -> Result<Report> {
    let start = Instant::now();
    let mut first = Some(gpu.clone());
    let mut open = |limits| {
        let limits = match limits {
            Limits::Adapter => None,
            Limits::WebgpuDefaults => Some(wgpu::Limits::defaults()),
        };
        let opened = || Gpu::open(&GpuOptions { limits, ..options.clone() });
        first.take().map_or_else(opened, Ok).map_err(Into::into)
    };
    let mut watch = |check: &Check, line: Option<&runner::Line>| match line {
        None => say(report::begun(&check.name)),
        Some(line) => say(report::ended(line)),
    };
    let faults = FAULTS;
    let limits = Limits::Adapter;
    let mut runner = Runner { limits, effort, faults, open: &mut open, watch: &mut watch };
    say(format!("\nWith {limits}:\n"))?;
    let mut lines = runner.run(&checks.iter().collect::<Vec<_>>())?;
    let again = |check: &&Check| contents::is_run_with_default_limits(check, effort);
    let again: Vec<&Check> = checks.iter().filter(again).collect();
    if !again.is_empty() {
        runner.limits = Limits::WebgpuDefaults;
        runner.effort = effort.of([Effort::Quick, Effort::Quick, Effort::Default]);
        say(format!("\nWith {}:\n", runner.limits))?;
        lines.extend(runner.run(&again)?);
    }
    Ok(Report::new(gpu, effort, lines, start.elapsed().as_secs_f64()))
}

/// Without a word of a panic on the terminal: it becomes a line of the report.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = work();
    panic::set_hook(loud);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::subject::Measured;

    /// What `run` does with checks, of which one is handed a wrong result.
    #[test]
    fn a_wrong_result_fails_the_command() -> Result<()> {
        let of = |error: f64| {
            let found =
                move |_: &subject::Subject| Ok(Measured::new(error, "ULP", "p[3]").at_most(4.0));
            Check::new("rules/some", "something", found)
        };
        let options = GpuOptions::from_env()?;
        let gpu = Gpu::open(&options)?;
        for (second, outcome) in [(3.0, Outcome::Good), (5.0, Outcome::Failed)] {
            let report =
                report(&[of(1.0), of(second)], Effort::Default, (&gpu, &options), &|_| Ok(()))?;
            assert_eq!(report.outcome(), outcome);
            // With both kinds of limits.
            assert_eq!(report.checks.len(), 4);
            let failed = if outcome == Outcome::Failed { 2 } else { 0 };
            assert_eq!((report.counts.pass, report.counts.fail), (4 - failed, failed));
            let verdict = if failed > 0 { "fail" } else { "pass" };
            assert!(
                page::html(&report).contains(&format!("<span id=\"verdict\" class=\"{verdict}\">"))
            );
        }
        Ok(())
    }

    #[test]
    fn names_choose_checks() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let chosen =
                chosen(contents::checks(false), &names).map_err(|error| error.to_string())?;
            Ok::<_, String>(chosen.into_iter().map(|check| check.name).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]).map(|all| all.len()), Ok(contents::checks(false).len()));
        let some = ["norms/measured", "norms/clipped", "norms/skipped", "tensors/1500"];
        assert_eq!(of(&["norms/", "1500"]), Ok(some.map(str::to_owned).to_vec()));
        let error = of(&["norms/", "speed"]).expect_err("there is none");
        assert!(
            error.starts_with("no check's name contains 'speed' (families: arithmetic, "),
            "{error}"
        );
    }
}
