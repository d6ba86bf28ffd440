//! The checkpoints of a run.

use std::path::{Path, PathBuf};

use fallline::Optimizer;
use serde::Serialize;

use crate::{Checkpoint, Result, place, write};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";

/// The checkpoints of a run, in a folder of their own: `checkpoint-<step>.safetensors`.
///
/// Two runs need two folders: each saves under the names of the other, and clears away what the other has half saved.
/// Whatever else lies there stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: Option<usize>,
    params: bool,
}

impl Checkpoints {
    /// Those in this folder, which is made when something is saved. All are kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), keep: None, params: true }
    }

    /// Keeps those of the last n steps: whenever one is saved, earlier ones are removed. The one that was just saved stays
    /// in any case, also if it is of an earlier step than others.
    #[must_use]
    pub fn keep(mut self, n: usize) -> Self {
        self.keep = Some(n);
        self
    }

    /// Saves no parameters, for a caller who keeps them elsewhere and brings them before it loads with
    /// [`LoadOptions::keep_params`](fallline::LoadOptions::keep_params).
    #[must_use]
    pub fn without_params(mut self) -> Self {
        self.params = false;
        self
    }

    /// Saves an optimizer at a step, with whatever else the run needs to continue: the position in its schedule and data,
    /// its configuration. (JSON knows neither infinity nor NaN: serde makes null of them.)
    ///
    /// The file is written in chunks of at most 16 MiB beside its place, synced to the disk, and renamed. If the step was
    /// saved before, it takes that one's place. What saves that were killed have left is removed.
    ///
    /// # Errors
    /// [`Error::Extra`](crate::Error::Extra); [`Error::Save`](crate::Error::Save) with what the engine or the disk
    /// refused; [`Error::Io`](crate::Error::Io). What was saved before is still there then, and nothing besides.
    pub async fn save_from(
        &self,
        optimizer: &Optimizer,
        step: u64,
        extra: &impl Serialize,
    ) -> Result<PathBuf> {
        place::make_folder(&self.folder)?;
        for leftover in place::leftovers(&self.folder, |name| step_of(name).is_some())? {
            place::remove(&leftover)?;
        }
        let path = self.path(step);
        write::write(&path, optimizer, step, extra, self.params).await?;
        self.rotate(step)?;
        Ok(path)
    }

    /// The last one, by its step; `None` if there is none. One that is damaged is an error, and is not passed over.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`]; [`Error::Io`](crate::Error::Io) if the folder cannot be listed.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        let latest = self.steps()?.last().copied();
        latest.map(|step| Checkpoint::open(self.path(step))).transpose()
    }

    /// The steps that there are checkpoints of, ascending.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the folder cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let names = place::names(&self.folder)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The file of a step, which may or may not be there.
    #[must_use]
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(file_name(step))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what is not kept.
    fn rotate(&self, saved: u64) -> Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let mut others = self.steps()?;
        others.retain(|step| *step != saved);
        let surplus = (others.len() + 1).saturating_sub(keep.max(1));
        others.iter().take(surplus).try_for_each(|step| place::remove(&self.path(*step)))
    }
}

fn file_name(step: u64) -> String {
    format!("{PREFIX}{step}{SUFFIX}")
}

/// The step whose file has this name.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    (file_name(step) == name).then_some(step)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_names_as_they_are_written_are_checkpoints() {
        assert_eq!(step_of("checkpoint-0.safetensors"), Some(0));
        assert_eq!(step_of(&file_name(u64::MAX)), Some(u64::MAX));
        for name in [
            "checkpoint-.safetensors",
            "checkpoint-007.safetensors",
            "checkpoint-+7.safetensors",
            "checkpoint-7.safetensors.part",
            "checkpoint-7.pt",
            "model-7.safetensors",
        ] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_last_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let left = |keep: usize, saved: u64, steps: &[u64]| {
            let checkpoints = Checkpoints::new(folder.path()).keep(keep);
            for step in steps {
                fs::write(checkpoints.path(*step), "").unwrap();
            }
            fs::write(folder.path().join("notes.txt"), "").unwrap();
            checkpoints.rotate(saved).unwrap();
            let left = checkpoints.steps().unwrap();
            assert!(folder.path().join("notes.txt").exists());
            left.iter().for_each(|step| fs::remove_file(checkpoints.path(*step)).unwrap());
            left
        };
        assert_eq!(left(3, 40, &[9, 10, 20, 30, 40]), [20, 30, 40]);
        assert_eq!(left(3, 40, &[30, 40]), [30, 40]);
        assert_eq!(left(1, 40, &[30, 40]), [40]);
        assert_eq!(left(0, 40, &[30, 40]), [40]);
        // A run that was taken back.
        assert_eq!(left(2, 10, &[10, 20, 30]), [10, 30]);
    }

    #[test]
    fn there_may_be_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Checkpoints::new(folder.path()).latest().unwrap().is_none());
        let missing = Checkpoints::new(folder.path().join("missing"));
        assert!(missing.latest().unwrap().is_none() && missing.steps().unwrap().is_empty());
    }
}
