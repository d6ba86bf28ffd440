//! Ctrl-C: the first lets the run end in good order, the second ends it at once.

use std::{
    process,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::print;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// As a shell has it for a process that Ctrl-C has ended.
pub(crate) const STATUS: u8 = 130;

/// Waits for it from now on, in a thread of its own.
pub(super) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            process::exit(STATUS.into());
        }
        print::warn("finishing the step; Ctrl-C once more ends at once");
    })?;
    Ok(())
}

/// Whether the run is to end.
pub(super) fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
