//! The entries of an upload ring: parts of a buffer that recorded work reads from, used again when the GPU is
//! done with them.
//!
//! `Queue::write_buffer` takes effect before the next submission, not where the encoder stands. So
//! that several steps with different input can be recorded before any is submitted, each gets an
//! entry of its own, bound by a dynamic offset; an entry is used again when its step was submitted or the GPU is
//! done with it, or when the encoder that holds the step is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Gpu, Result, wait};

/// Steps that may be recorded or under way at once.
pub(crate) const ENTRIES: u32 = 64;

/// Which entries are free.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    free: Arc<Mutex<Vec<u32>>>,
}

/// An entry in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    free: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { free: Arc::new(Mutex::new((0..ENTRIES).rev().collect())) }
    }

    /// A free entry. If all are under way it waits for the GPU; in a browser, where nothing can wait, it gives
    /// an error.
    pub(crate) fn take(&self, gpu: &Gpu) -> Result<Entry> {
        if let Some(entry) = self.free() {
            return Ok(entry);
        }
        wait::turn(gpu.device())?;
        #[cfg(not(target_family = "wasm"))]
        if self.free.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            wait::native::wait(gpu.device(), || false)?;
        }
        if let Some(entry) = self.free() {
            return Ok(entry);
        }
        gpu.check_lost()?;
        Err(Error::TooManyUnsubmittedSteps { limit: ENTRIES as usize })
    }

    fn free(&self) -> Option<Entry> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Entry { number, free: Arc::clone(&self.free) })
    }
}
