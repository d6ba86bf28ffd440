//! Checkpoints of a run: `--checkpoint-every`, `--resume`, and what Ctrl-C leaves.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use fallline::Optimizer;
use fallline_checkpoint::{Checkpoint, Checkpoints};

use super::{
    models::Model,
    progress::{BegunWith, Progress, Saved},
};
use crate::{exit::usage, print};

const HEADING: &str = "Checkpoints";

/// Where a run is saved that was not told.
const FOLDER: &str = "checkpoints";

/// The options, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckpointArgs {
    /// Save the run every N steps, and at its end
    #[arg(long, help_heading = HEADING, value_name = "N", conflicts_with = "compare",
        value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: Option<u32>,

    /// Save it in DIR, at its end at least; what Ctrl-C stops is saved in any case [default: checkpoints]
    #[arg(long, help_heading = HEADING, value_name = "DIR", conflicts_with = "compare")]
    checkpoints: Option<PathBuf>,

    /// Keep the last N of them [default: all]
    #[arg(long, help_heading = HEADING, value_name = "N", conflicts_with = "compare",
        value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,

    /// Continue from the last of them, with the options that the run was begun with: everything comes out as if it
    /// had never stopped
    #[arg(long, help_heading = HEADING, conflicts_with = "compare")]
    resume: bool,
}

impl CheckpointArgs {
    /// Looks whether there is what the options ask for.
    pub(super) fn open(&self, compares: bool) -> Result<Saves> {
        if compares {
            return Ok(Saves::default());
        }
        let is_asked = self.resume
            || self.checkpoint_every.is_some()
            || self.checkpoints.is_some()
            || self.keep.is_some();
        let folder = match &self.checkpoints {
            Some(folder) => folder.clone(),
            None if is_asked => FOLDER.into(),
            None => unused()?,
        };
        let name = print::path(&folder);
        let mut checkpoints = Checkpoints::new(folder);
        let latest = if is_asked { checkpoints.latest()? } else { None };
        match &latest {
            None if self.resume => {
                return Err(usage(anyhow!("--resume: there is no checkpoint in {name}")));
            }
            Some(latest) if !self.resume => {
                let step = latest.step();
                return Err(usage(anyhow!(
                    "{name} has checkpoints already, the last of step {step}: continue with --resume, or choose another folder with --checkpoints"
                )));
            }
            _ => {}
        }
        if let Some(keep) = self.keep {
            checkpoints = checkpoints.keep(keep as usize);
        }
        Ok(Saves { every: self.checkpoint_every, is_asked, latest, checkpoints: Some(checkpoints) })
    }
}

/// A folder that no run was saved in, for one that is saved unasked.
fn unused() -> Result<PathBuf> {
    let mut folder = PathBuf::from(FOLDER);
    for number in 2.. {
        if !folder.exists() || Checkpoints::new(&folder).steps()?.is_empty() {
            break;
        }
        folder = format!("{FOLDER}-{number}").into();
    }
    Ok(folder)
}

/// Where and when a run is saved, and what it continues. By default, nowhere.
#[derive(Debug, Default)]
pub(super) struct Saves {
    checkpoints: Option<Checkpoints>,
    every: Option<u32>,
    /// Whether it is saved also if nothing stops it.
    is_asked: bool,
    latest: Option<Checkpoint>,
}

impl Saves {
    /// The next step after this one that the run is saved at, or later than any.
    pub(super) fn next(&self, step: u32) -> u32 {
        self.every.map_or(u32::MAX, |every| (step / every + 1).saturating_mul(every))
    }

    /// Whether the run is saved after so many steps, if these are all of them or not.
    pub(super) fn is_due(&self, steps: u32, is_end: bool) -> bool {
        let is_end = is_end && self.is_asked && self.begins_at() != steps;
        is_end || self.every.is_some_and(|every| steps.is_multiple_of(every))
    }

    /// The step that the run continues at.
    pub(super) fn begins_at(&self) -> u32 {
        let step = self.latest.as_ref().map_or(0, Checkpoint::step);
        u32::try_from(step).unwrap_or(u32::MAX)
    }

    /// What the run continues.
    pub(super) fn begins_from(&self) -> Option<&Path> {
        self.latest.as_ref().map(Checkpoint::path)
    }

    /// Saves the run; `None` if there is nowhere to.
    pub(super) fn save(&self, optimizer: &Optimizer, saved: &Saved) -> Result<Option<PathBuf>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        Ok(Some(checkpoints.save(optimizer, saved.steps(), saved)?))
    }

    /// Brings back what was saved, if the run continues: the optimizer, and the progress of a run that was begun in the
    /// same way.
    pub(super) fn load(
        &self,
        optimizer: &mut Optimizer,
        model: &dyn Model,
        begun_with: &BegunWith,
    ) -> Result<Option<Progress>> {
        let Some(checkpoint) = &self.latest else { return Ok(None) };
        let saved: Saved = checkpoint.extra()?;
        let name = || print::path(checkpoint.path());
        saved.check(begun_with).with_context(name).map_err(usage)?;
        ensure!(
            saved.steps() == checkpoint.step(),
            "{}: it is of step {}, and tells of {} steps",
            name(),
            checkpoint.step(),
            saved.steps()
        );
        let progress = saved.progress(model).with_context(name)?;
        checkpoint.load(optimizer)?;
        Ok(Some(progress))
    }

    /// The command that continues the run.
    pub(super) fn resume_command(&self) -> String {
        let folder = self.checkpoints.as_ref().filter(|_| !self.is_asked);
        command(std::env::args_os(), folder.map(Checkpoints::folder))
    }
}

/// These arguments with --resume, and with this folder if it is not among them, as a shell takes them.
fn command(arguments: impl Iterator<Item = OsString>, folder: Option<&Path>) -> String {
    let given = arguments.filter(|argument| argument != "--resume");
    let folder = folder.filter(|folder| *folder != Path::new(FOLDER));
    let folder = folder.into_iter().flat_map(|folder| ["--checkpoints".into(), folder.into()]);
    let all = given.chain(folder).chain(["--resume".into()]);
    all.map(|argument| quoted(&argument.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted() {
        let given =
            |text: &str| text.split('|').map(OsString::from).collect::<Vec<_>>().into_iter();
        let found = command(given("fallline|train|--resume|-o|it's one.svg"), None);
        assert_eq!(found, r"fallline train -o 'it'\''s one.svg' --resume");
        let folder = Path::new("checkpoints-2");
        let found = command(given("fallline|train|--schedule|step,step_size=3"), Some(folder));
        let expected =
            "fallline train --schedule step,step_size=3 --checkpoints checkpoints-2 --resume";
        assert_eq!(found, expected);
    }

    #[test]
    fn runs_are_saved_at_multiples_and_at_the_end() {
        let saves = Saves { every: Some(10), is_asked: true, ..Saves::default() };
        assert_eq!((saves.next(0), saves.next(9), saves.next(10)), (10, 10, 20));
        let due = |steps, is_end| saves.is_due(steps, is_end);
        assert_eq!((due(9, false), due(20, false), due(25, true)), (false, true, true));
        assert!(!Saves::default().is_due(20, true));
    }
}
