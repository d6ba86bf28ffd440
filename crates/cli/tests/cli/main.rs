//! The binary `fallline`, run as a user runs it.
//!
//! One test binary, since each is linked anew. Its tests run in threads of one process, each with a folder of its
//! own.

mod bench;
mod bench_compare;
mod bench_tables;
mod check;
mod checkpoint;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod faults;
mod gpt;
mod headers;
mod info;
mod mixed_precision;
mod names;
#[cfg(unix)]
mod outputs;
mod player;
mod plot;
mod quantize;
mod quantize_errors;
mod race;
mod replay;
mod replay_groups;
mod replay_schedule;
mod schedule;
mod train;
mod train_config;
mod train_find_lr;
mod train_log;
mod train_resume;
mod train_schedule;
mod usage;

mod common;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[path = "../../../../tests/faults/mod.rs"]
mod faults_layer;
