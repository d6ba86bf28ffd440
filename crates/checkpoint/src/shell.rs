//! What blocks: a thin shell over the asynchronous functions.

use std::path::{Path, PathBuf};

use fallline::{LoadOptions, Optimizer};
use pollster::block_on;
use serde::Serialize;

use crate::{Checkpoint, Checkpoints, Result};

impl Checkpoints {
    /// [`save_from`](Self::save_from) that waits.
    ///
    /// # Errors
    /// As [`save_from`](Self::save_from).
    pub fn save(
        &self,
        optimizer: &Optimizer,
        step: u64,
        extra: &impl Serialize,
    ) -> Result<PathBuf> {
        block_on(self.save_from(optimizer, step, extra))
    }
}

impl Checkpoint {
    /// [`save_from`](Self::save_from) that waits.
    ///
    /// # Errors
    /// As [`save_from`](Self::save_from).
    pub fn save(
        path: impl AsRef<Path>,
        optimizer: &Optimizer,
        step: u64,
        extra: &impl Serialize,
    ) -> Result<()> {
        block_on(Self::save_from(path, optimizer, step, extra))
    }

    /// [`load_into`](Self::load_into) that waits, in the formats of the optimizer.
    ///
    /// # Errors
    /// As [`load_into`](Self::load_into).
    pub fn load(&self, optimizer: &mut Optimizer) -> Result<()> {
        self.load_with(optimizer, LoadOptions::new())
    }

    /// [`load_into`](Self::load_into) that waits.
    ///
    /// # Errors
    /// As [`load_into`](Self::load_into).
    pub fn load_with(&self, optimizer: &mut Optimizer, options: LoadOptions) -> Result<()> {
        block_on(self.load_into(optimizer, options))
    }
}
