//! Logs of monitored runs: what [reports](crate::StepReport) tell, gathered into one record for each monitored step.
//!
//! ```no_run
//! use fallline::{Optimizer, Step, monitor::{Log, LogFormat, Recorder}};
//!
//! # fn run(optimizer: &mut Optimizer, loss: f64) -> Result<(), Box<dyn std::error::Error>> {
//! let mut recorder = Recorder::new();
//! let mut log = Log::new(std::fs::File::create("run.jsonl")?, LogFormat::JsonLines);
//! for _ in 0..1000 {
//!     optimizer.step(&Step::new())?;
//!     // Never waits: a step is told some steps later.
//!     let reports = optimizer.poll_reports()?;
//!     for mut record in recorder.take(optimizer, reports) {
//!         record.loss = Some(loss);
//!         log.write(&record)?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # JSON lines
//!
//! A line is a [`Record`] as a JSON object with its fields' names. What there is nothing to tell of is left out; a number
//! that is infinite or NaN is `null`, which JSON has no other word for. [`read_json_lines`] passes over fields that it does
//! not know, so that files of later versions can be read, and takes one that is missing as nothing told.
//!
//! # CSV
//!
//! A header and a line for each record: `step`, `loss`, `steps`, `clipped`, `skipped` (how many), `norm`, `max_norm`,
//! `clip_factor`, `loss_scale`, `suggested_max_norm`, `non_finite_step`, `non_finite_tensor` (the first since the line
//! before); for each group `NAME/norm`, `NAME/update_norm`, `NAME/weight_norm`, `NAME/update_ratio`, `NAME/lr`; and
//! the same for each tensor, if tensors are told, with `tensor:` before the name. Columns are those of the first record:
//! tensors that come later have none. What there is nothing to tell of is empty; `inf` and `NaN` are written as such.
//!
//! # Resuming
//!
//! A record goes by the steps since the one before, and its suggested limit by the last thousand: so a [`Recorder`] goes into
//! checkpoints, as serde has it. A log is cut behind the checkpoint's step, where [`LogHead`] finds it, and goes on by
//! [`Log::resume`].

mod log;
mod read;
mod record;
mod recorder;

pub use log::{Log, LogFormat};
pub use read::{LogHead, read_json_lines};
pub use record::{NonFiniteStep, Record, RecordNorms};
pub use recorder::{NormHistory, Recorder};

#[cfg(test)]
mod tests;
