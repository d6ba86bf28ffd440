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
//! | module      | what it holds                                                               |
//! |-------------|-----------------------------------------------------------------------------|
//! | `optimizer` | [`Optimizer`], the public type; [`Step`], what a step brings                  |
//! | `rules`     | [`Rule`], [`Group`] and one file for each optimizer                          |
//! | `slot`      | [`Slot`]: what a rule keeps for each element                                |
//! | `tensor`    | [`TensorSpec`], [`BorrowedTensor`], [`Places`]: what a caller says of tensors |
//! | `save`      | everything that a run needs to continue, as bytes                           |
//! | `quantizer` | [`Quantizer`]: values into blocks of codes, and back                        |
//! | `blocks`    | these on the host                                                           |
//! | `gpu`       | [`Gpu`]: the device, and its errors as values; `late`: those that come late  |
//! | `lost`      | whether a device is lost                                                    |
//! | `wait`      | futures of what the GPU calls back about; `shell`: what blocks               |
//! | `layout`    | where tensors lie in the arena, and the windows of a binding (pure)          |
//! | `tiles`     | which pieces of borrowed tensors share a dispatch (pure)                     |
//! | `lend`      | what a caller lends, checked and numbered                                   |
//! | `kernel`    | from rule, frame and codecs to a compiled pipeline                           |
//! | `plan`      | dispatches with their bind groups                                           |
//! | `control`   | measuring, deciding, step counters on the GPU, the per-step input            |
//! | `ring`      | the entries of the buffer that this input lies in                            |
//! | `abi`       | the structs that cross to the GPU                                            |

mod abi;
mod adapters;
mod blocks;
mod control;
mod convert;
mod error;
mod gpu;
mod kernel;
mod late;
mod layout;
mod lend;
mod lost;
mod optimizer;
mod options;
mod plan;
mod quantizer;
mod report;
mod ring;
mod rule_set;
mod rules;
mod save;
mod scaler;
#[cfg(not(target_family = "wasm"))]
mod shell;
mod slot;
mod tensor;
mod tiles;
mod transfer;
mod wait;

pub use adapters::{GpuOptions, request_adapters};
pub use control::Sums;
pub use error::{Error, Result, Role};
pub use gpu::Gpu;
pub use kernel::{KernelPlaces, KernelStage, kernel_wgsl};
pub use optimizer::{Accumulator, MeasuredStep, MicroGrad, Optimizer, Step, Traffic};
pub use options::Options;
pub use quantizer::{BlockRange, BlockSpec, BlockTensor, Quantizer};
pub use report::{SkipReason, StepReport};
pub use rules::*;
pub use save::{Encoding, LoadOptions, LoadSource, SaveSink, Saved, SavedEntry};
pub use scaler::{DynamicScale, LossScaler};
#[cfg(not(target_family = "wasm"))]
pub use shell::adapters;
pub use slot::{Slot, SlotKind, SlotShape};
pub use tensor::{
    BorrowedTensor, BufferRange, Dtype, Places, Precision, StateFormat, TensorId, TensorSpec, Whole,
};

/// The wgpu that this crate is built with.
pub use wgpu;

/// The README, whose code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
