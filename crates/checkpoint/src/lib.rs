//! Checkpoints of [`fallline`]'s optimizers: one safetensors file each, whole or not there, with checksums,
//! exact to the bit.
//!
//! ```no_run
//! use fallline::{Optimizer, Step};
//! use fallline_checkpoint::Checkpoints;
//! use serde::{Deserialize, Serialize};
//!
//! /// What else this run needs to continue.
//! #[derive(Default, Serialize, Deserialize)]
//! struct Extra {
//!     epoch: u64,
//! }
//!
//! fn train(optimizer: &mut Optimizer) -> Result<(), Box<dyn std::error::Error>> {
//!     let checkpoints = Checkpoints::new("runs/digits").keep(3);
//!     let (mut first, mut extra) = (0, Extra::default());
//!     if let Some(checkpoint) = checkpoints.latest()? {
//!         checkpoint.load(optimizer)?;
//!         (first, extra) = (checkpoint.step(), checkpoint.extra()?);
//!     }
//!     for step in first..10_000 {
//!         optimizer.step(&Step::new())?;
//!         if (step + 1) % 1000 == 0 {
//!             extra.epoch += 1;
//!             checkpoints.save(optimizer, step + 1, &extra)?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What is in a file
//!
//! Whatever [`Optimizer::save_to`](fallline::Optimizer::save_to) gives: parameters (if wanted), every slot in its own format, codes
//! and scales as they are, master copies, remainders, step counters, the loss scale; the caller's step and `extra`: the
//! position in a schedule, the configuration, whatever serde takes. The rules and their hyperparameters are in it
//! to be read; those of the optimizer that loads count. `docs/checkpoint.md` of the repository describes the format.
//!
//! # What may happen
//!
//! A file is written beside its place, synced to the disk, and put into its place by renaming: whatever ends the
//! process, what was saved before stays, and nothing in part is ever found. Before anything is loaded, the checksums
//! of the whole file are compared, and then its table with the optimizer.
//!
//! # Waiting
//!
//! [`Checkpoints::save_from`] and [`Checkpoint::load_into`] are futures where they wait for the GPU, under any
//! executor; the disk they wait for in the thread that polls them. [`Checkpoints::save`] and [`Checkpoint::load`]
//! block.

mod checkpoint;
mod checkpoints;
mod encoding;
mod error;
mod groups;
mod header;
mod names;
mod place;
mod shell;
mod source;
mod write;

pub use checkpoint::Checkpoint;
pub use checkpoints::Checkpoints;
pub use error::{Error, Result};
pub use groups::SavedGroup;

/// The version of the format that is written. All versions up to it are read.
pub const FORMAT_VERSION: u32 = 1;

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
