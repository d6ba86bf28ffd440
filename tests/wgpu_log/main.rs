//! What a step does not do, counted in wgpu's own log.
//!
//! A binary of its own: a process has one logger, which hears of every device in it. For the same reason these tests
//! run one after the other.

mod no_creation;
mod no_readback;
mod only_used;

#[allow(dead_code, reason = "the engine's tests use the rest")]
#[path = "../common/mod.rs"]
mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What of wgpu's log is kept.
const KEPT: [&str; 4] =
    ["Buffer::map_async", "Device::create_", "Queue::write_buffer", "create_staging_buffer"];

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        if KEPT.iter().any(|kept| line.contains(kept)) {
            lines().push(line);
        }
    }

    fn flush(&self) {}
}

fn lines() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// wgpu's log, while one test listens.
struct Log {
    _alone: MutexGuard<'static, ()>,
}

impl Log {
    fn listen() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        // Another test may have failed.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Another test may have set it.
        let _ = log::set_logger(&Logger);
        // What wgpu calls is told at the level of trace.
        log::set_max_level(log::LevelFilter::Trace);
        Self { _alone: alone }
    }

    fn forget(&self) {
        lines().clear();
    }

    /// The lines that have one of these words.
    fn with(&self, words: &[&str]) -> Vec<String> {
        let has = |line: &&String| words.iter().any(|word| line.contains(word));
        lines().iter().filter(has).cloned().collect()
    }
}
