//! Checkpoints of the engine on the device at hand.
//!
//! One binary, since each links all of wgpu and naga anew.

mod examples;
mod files;
mod golden;
mod kill;
#[cfg(target_os = "linux")]
mod memory;
mod resume;
mod series;

mod common;
