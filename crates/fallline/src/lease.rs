//! Places of a buffer that recorded work reads from, used again when the GPU is done with it.
//!
//! `Queue::write_buffer` takes effect before the next submission, not where the encoder stands. So
//! that several steps with different input can be recorded before any is submitted, each gets a
//! slot of its own, bound by a dynamic offset; a slot is used again when the GPU is done with its
//! step, or when the encoder that holds the step is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Gpu, Result, wait};

/// Steps that may be recorded or under way at once.
pub(crate) const SLOTS: u32 = 64;

/// Which slots are free.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    free: Arc<Mutex<Vec<u32>>>,
}

/// A slot in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) slot: u32,
    free: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self { free: Arc::new(Mutex::new((0..SLOTS).rev().collect())) }
    }

    /// A free slot. If all are under way it waits for the GPU; in a browser, where nothing can wait, it gives
    /// an error.
    pub(crate) fn lease(&self, gpu: &Gpu) -> Result<Lease> {
        if let Some(lease) = self.free() {
            return Ok(lease);
        }
        wait::turn(gpu.device());
        #[cfg(not(target_family = "wasm"))]
        if self.free.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            crate::shell::wait_for_submissions(gpu.device());
        }
        if let Some(lease) = self.free() {
            return Ok(lease);
        }
        gpu.check_lost()?;
        Err(Error::TooManyUnsubmittedSteps { limit: SLOTS as usize })
    }

    fn free(&self) -> Option<Lease> {
        let slot = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Lease { slot, free: Arc::clone(&self.free) })
    }
}
