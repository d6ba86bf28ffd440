//! The optimizer step on the GPU, for every runtime on wgpu.
//!
//! Parameters, gradients and state stay in GPU buffers. A step is recorded into the caller's
//! [`wgpu::CommandEncoder`] as **one compute pass** that updates every tensor of every parameter
//! group; the number of dispatches does not depend on the number of tensors, no buffer, kernel or bind
//! group is made anew (unless tensors move to buffers that are new), and nothing is read back.
//!
//! ```no_run
//! use fallline::{AdamW, Gpu, Group, Optimizer, Step, TensorSpec};
//!
//! # fn main() -> fallline::Result<()> {
//! let gpu = Gpu::from_env()?; // or Gpu::from_device(device, queue)?
//! let groups = [
//!     Group::new("decay", AdamW::new().weight_decay(0.1)),
//!     Group::new("no decay", AdamW::new().weight_decay(0.0)),
//! ];
//! let tensors =
//!     [TensorSpec::new("weight", [784, 128]), TensorSpec::new("bias", [128]).in_group("no decay")];
//! let mut optimizer = Optimizer::arena(&gpu, &groups, &tensors)?;
//!
//! let weight = optimizer.id("weight").expect("it was just given");
//! let gradient: wgpu::BufferSlice = optimizer.grad(weight)?; // a kernel of yours writes into this
//! # let _ = gradient;
//! let mut encoder = gpu.device().create_command_encoder(&Default::default());
//! optimizer.encode_step(&mut encoder, &Step::lr(1e-3))?;
//! gpu.queue().submit([encoder.finish()]);
//! # Ok(())
//! # }
//! ```
//!
//! # The device
//!
//! [`Gpu::from_device`] takes your device and queue, and touches no error handler of yours: what wgpu reports
//! comes back as an [`Error`]. [`Gpu::request`] opens a device of its own. The wgpu must be the one that this
//! crate is built with, which it exports as [`wgpu`].
//!
//! # What to own, what to lend
//!
//! [`Optimizer::arena`] makes the buffers of parameters, gradients and state. [`Optimizer::param`] and
//! [`Optimizer::grad`] say where a tensor lies in them, for your kernels to bind.
//!
//! [`Optimizer::borrowed`] makes the state alone. Parameters and gradients are ranges of your buffers
//! ([`BufferRange`]): they need the usage `STORAGE` and begin at a multiple of 16 bytes, or of 8 where elements
//! have 16 bits. Where they lie, and which tensors have a gradient at all, may change with every step:
//! [`Optimizer::encode_step_at`] takes [`Places`].
//!
//! A kernel of your own that reads or writes there (gradients, a loss) may be a [`ComputeKernel`], with errors as
//! values as everything else has them.
//!
//! # Tensors, groups, rules
//!
//! A [`TensorSpec`] says a tensor's name, shape, format and group, into which [`Groups`] puts it by name and shape, with no
//! decay of biases and norms and rates by layer where that is wanted. A [`Group`] has a rule with its
//! hyperparameters, the format of its state ([`StateFormat`]), and what it has around any rule: caution, cautious
//! weight decay, a limit to directions, [`Lookahead`], an average. [`Optimizer::encode_eval`] puts averages where the
//! parameters are, and [`Optimizer::encode_train`] these back. [`Rule`] is a trait: a page of WGSL and its constants make an optimizer of
//! yours, which may look at single elements, rows and columns, tensors, or all of them ([`Scope`]).
//! [`Optimizer::freeze`] lets tensors stand still for a while.
//! [`Options`] are for clipping, loss scaling and overflow checks.
//!
//! # A step
//!
//! [`Optimizer::encode_step`] records a step into your encoder, [`Optimizer::record_step`] into a compute pass
//! of yours, and [`Optimizer::step`] submits one by itself. A [`Step`] brings what changes from one to the next:
//! learning rates, tensors without gradient, the number of micro-batches. Nothing has happened before you
//! submit; up to 64 steps may be recorded by then.
//!
//! [`schedule`] has torch's and transformers' learning-rate schedules.
//!
//! Between steps, [`Optimizer::encode_estimate`] hands in what estimates the Hessian's diagonal, for [`Sophia`].
//!
//! # Reports
//!
//! Norms, clip factors, the loss scale and whether a step is skipped are decided on the GPU.
//! [`Optimizer::poll_reports`] gives the [`StepReport`]s that have arrived and never waits;
//! [`Optimizer::fetch_reports`] waits for the rest. A [`Monitor`] has some steps tell more: how far parameters go, and of
//! each tensor.
//!
//! # Saving
//!
//! [`Optimizer::save_to`] gives a [`SaveSink`] a table of entries and then their bytes, in chunks of at most
//! 16 MiB; [`Saved`] is a sink in memory. [`Optimizer::load_from`] compares the table before it writes anything,
//! and the run continues bit for bit. The crate `fallline-checkpoint` makes files of this.
//!
//! # Waiting, and browsers
//!
//! Whatever waits is a future (`request`, `fetch_…`, `store_…`, `save_to`, `load_from`, `settle`) and runs under
//! any executor. Natively, each has a twin that blocks (`open`, `read_…`, `write_…`, `save`, `load`, `wait`). On
//! wasm32 these do not exist, and wgpu reports an error after the call that caused it: it comes out in
//! [`Gpu::settle`] or instead of the next call, and whatever reads waits for its own.
//!
//! # Other languages
//!
//! [`Optimizer::fetch_plan`] gives a step as data, for any other WebGPU to play: see [`plan`]. `fallline export` writes it into
//! files.
//!
//! # Guide
//!
//! [`guide`] has a page for each thing that has to be decided: rules, groups, precision, memory, checkpoints; one for runs
//! that diverge; and one each for runtimes on wgpu and for those in JavaScript and C++.
//!
//! # Features
//!
//! - `wgpu_default`, on by default: wgpu's own default features, and so every backend. Without it wgpu has those
//!   that the rest of the program asks for, and with none of them there is no adapter.
//! - `noop`: `Gpu::noop`, a device that computes nothing, on which [plans](plan) are made without a GPU.
//! - `serde`: rules and schedules from configuration files and into them (`deserialize_rule`, `serialize_rule`,
//!   [`AnySchedule`](schedule::AnySchedule)), formats by their names, logs of monitored runs (`monitor`), and plans.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod abi;
mod adapters;
mod blocks;
mod borrowed_buffers;
mod caught;
mod compile;
mod compute;
mod control;
mod dispatch;
mod error;
mod factors;
mod fits;
mod formats;
mod gpu;
mod groups;
#[cfg(any(doc, doctest))]
pub mod guide;
mod kernel;
mod late;
mod layout;
mod limits;
mod lost;
#[cfg(feature = "serde")]
pub mod monitor;
mod optimizer;
mod options;
pub mod plan;
mod quantizer;
mod range_test;
mod records;
mod remainder;
mod report;
mod ring;
mod rule_set;
mod rules;
mod save;
mod scaler;
pub mod schedule;
#[cfg(not(target_family = "wasm"))]
mod shell;
mod slot;
mod tensor;
mod tiles;
mod transfer;
mod update;
mod vectors;
mod wait;

pub use adapters::{GpuOptions, request_adapters};
pub use blocks::BlockScales;
pub use compute::{ComputeDispatch, ComputeKernel};
pub use control::Sums;
pub use error::{Error, Result, Role, RuleError};
pub use formats::{Dtype, Precision, StateFormat};
pub use gpu::{Gpu, LaneVec4s};
pub use groups::{Groups, Layers, Select};
pub use kernel::{KernelPlaces, KernelStage, kernel_wgsl};
pub use optimizer::{
    Accumulator, Estimate, MeasuredStep, MicroGrad, Mode, Optimizer, Snapshot, Step, Traffic,
};
pub use options::{Monitor, Options};
pub use quantizer::{BlockRange, BlockSpec, BlockTensor, Quantizer};
pub use range_test::{RangeCurve, RangePoint, RangeTest};
pub use report::{Monitored, NonFinite, Norms, SkipReason, StepReport};
pub use rules::*;
pub use save::{Encoding, LoadOptions, LoadSource, SaveSink, Saved, SavedEntry};
pub use scaler::{DynamicScale, LossScaler};
#[cfg(not(target_family = "wasm"))]
pub use shell::adapters;
pub use slot::{Slot, SlotKind, SlotShape};
pub use tensor::{BorrowedTensor, BufferRange, Places, TensorId, TensorSpec, Whole};

/// The wgpu that this crate is built with.
pub use wgpu;

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
