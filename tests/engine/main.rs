//! The engine on the device at hand.
//!
//! One binary, since each links all of wgpu and naga anew. A test must bear others beside it, in threads of the
//! same process with devices of their own; what must be alone is a binary of its own, as `wgpu_log` is.

mod accumulate;
mod after;
mod arena;
mod blocks;
mod borrowed;
mod conversions;
mod custom_rules;
mod edge_numbers;
mod elements;
mod errors;
mod estimates;
mod evaluate;
mod examples;
mod faults;
mod formats;
mod freeze;
mod futures;
mod halves;
mod hyperparameters;
mod lane_vec4s;
mod matrices;
mod measure;
mod monitor;
mod norm;
mod options;
mod pairs;
mod pieces;
mod places;
mod plan;
mod quantizer;
mod records;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod recovery;
mod save;
mod scalars;
mod scaler;
mod schedule_free;
mod schedulers;
mod schedules;
mod scopes;
mod snapshot;
mod state;
mod state_blocks;
mod sums;
mod tensors;
mod twin;
mod zero_grads;

#[path = "../common/mod.rs"]
mod common;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[path = "../faults/mod.rs"]
mod faults_layer;
