//! Counts what wgpu is asked for, by its log.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

static IS_ON: AtomicBool = AtomicBool::new(false);
static COUNTS: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());

/// What wgpu logs, and what that is.
const CALLS: [(&str, &str); 4] = [
    ("ComputePass::dispatch", "dispatches"),
    ("Queue::submit returned", "submissions"),
    ("Device::create_buffer ", "buffers"),
    ("Device::create_bind_group ", "bind groups"),
];

struct Counter;

impl log::Log for Counter {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        IS_ON.load(Ordering::Relaxed) && metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        for (call, what) in CALLS {
            if text.contains(call) {
                let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
                *counts.entry(what).or_default() += 1;
            }
        }
    }

    fn flush(&self) {}
}

pub(crate) fn install() -> Result<(), log::SetLoggerError> {
    log::set_logger(&Counter)?;
    log::set_max_level(log::LevelFilter::Info);
    Ok(())
}

pub(crate) fn begin() {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    log::set_max_level(log::LevelFilter::Trace);
    IS_ON.store(true, Ordering::Relaxed);
}

pub(crate) fn end() -> String {
    IS_ON.store(false, Ordering::Relaxed);
    log::set_max_level(log::LevelFilter::Info);
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = counts.iter().map(|(what, count)| format!("{count} {what}"));
    counts.collect::<Vec<_>>().join(", ")
}
