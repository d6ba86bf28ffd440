//! `--log`: what the monitored steps of a run tell, with their losses.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fallline::{
    Monitor,
    monitor::{Log, LogFormat, Record},
};

use crate::output::{Output, Outputs};

const HEADING: &str = "Log";

/// The options, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Write losses, norms of gradients, update ratios, learning rates and loss scales to FILE when the run ends or is
    /// stopped, for `fallline plot`
    #[arg(long, help_heading = HEADING, value_name = "RUN.jsonl|RUN.csv", conflicts_with = "compare")]
    log: Option<PathBuf>,

    /// Of every N-th step
    #[arg(long, help_heading = HEADING, value_name = "N", requires = "log",
        value_parser = clap::value_parser!(u32).range(1..), default_value_t = Monitor::default().interval)]
    log_every: u32,
}

impl LogArgs {
    /// What the optimizer is asked to monitor.
    pub(super) fn monitor(&self) -> Option<Monitor> {
        let monitor = Monitor { interval: self.log_every, ..Monitor::default() };
        self.log.is_some().then_some(monitor)
    }

    /// The format of the log, if there is to be one.
    pub(super) fn format(&self) -> Result<Option<LogFormat>> {
        let Some(path) = &self.log else { return Ok(None) };
        let format = LogFormat::of_path(path)
            .with_context(|| format!("--log must end in .jsonl or .csv, found {}", path.display()));
        format.map(Some)
    }

    pub(super) fn open(&self, outputs: &mut Outputs) -> Result<Option<Output>> {
        outputs.open_any(self.log.as_deref())
    }
}

/// The log of these records.
pub(super) fn text(records: &[Record], format: LogFormat) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut log = Log::new(&mut text, format);
    records.iter().try_for_each(|record| log.write(record))?;
    Ok(text)
}
