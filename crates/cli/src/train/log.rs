//! `--log`: what the monitored steps of a run tell, with their losses.

use std::{
    fs::File,
    io::{self, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fallline::{
    Monitor,
    monitor::{Log, LogFormat, LogHead, Record},
};

use crate::{
    output::{Growing, Output, Outputs},
    print,
};

const HEADING: &str = "Log";

/// The options, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Write losses, norms of gradients, update ratios, learning rates and loss scales to FILE while the run goes, for
    /// `fallline plot`; with --resume FILE goes on: lines of steps behind the checkpoint are replaced
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

    /// Opens the file, and leaves what is in it.
    pub(super) fn open(
        &self,
        format: Option<LogFormat>,
        outputs: &mut Outputs,
    ) -> Result<Option<LogFile>> {
        let output = outputs.open_any(self.log.as_deref())?;
        Ok(output.zip(format).map(|(output, format)| LogFile { output, format }))
    }
}

/// A file for the log of a run.
#[derive(Debug)]
pub(super) struct LogFile {
    output: Output,
    format: LogFormat,
}

impl LogFile {
    pub(super) fn path(&self) -> &Path {
        self.output.path()
    }

    /// Begins the log, or goes on with it behind a step.
    pub(super) fn begin(&self, step: u32) -> Result<RunLog> {
        let mut out = self.output.grow()?;
        let head = match &mut out {
            Growing::File(file) => cut(file, self.format, step)
                .with_context(|| format!("cannot go on with {}", print::path(self.path())))?,
            Growing::Special(_) | Growing::Stream(_) => LogHead::default(),
        };
        let log = Log::resume(out, self.format, head);
        Ok(RunLog { path: self.path().to_owned(), log })
    }
}

/// Leaves of a log what it tells of steps up to this one, and goes to its end.
fn cut(file: &mut File, format: LogFormat, step: u32) -> io::Result<LogHead> {
    let head = match step {
        // Whatever is in the file.
        0 => LogHead::default(),
        _ => LogHead::read(BufReader::new(&*file), format, step)?,
    };
    file.set_len(head.len_bytes())?;
    file.seek(SeekFrom::End(0))?;
    Ok(head)
}

/// The log of a run under way.
#[derive(Debug)]
pub(super) struct RunLog {
    path: PathBuf,
    log: Log<Growing>,
}

impl RunLog {
    pub(super) fn write(&mut self, record: &Record) -> Result<()> {
        let written = self.log.write(record);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// To be called before a checkpoint: what goes on behind it must have the lines before.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = self.log.get_ref().sync();
        synced.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
