//! A step as data, for runtimes that cannot call this crate: [`Optimizer::read_plan`](crate::Optimizer::read_plan).
//!
//! A [`Plan`] says what to create on a WebGPU device (kernels, buffers, bind groups), what a step records into a compute
//! pass, and what the host writes for it. Numbers of kernels, buffers, bind groups and groups are their indices in the
//! plan. Whoever creates all of it and plays the pass takes the steps of the optimizer that the plan is of, from where
//! it stood, and on the same driver with the same bits. No text is to be generated, and no layout to be known.
//!
//! A plan is valid on every device with the [limits](crate::Gpu::limits) that the optimizer kept to. With the feature
//! `noop` it takes no GPU to make one for every device there is, `Gpu::noop`:
//!
//! ```
//! use fallline::{AdamW, Gpu, Group, Optimizer, TensorSpec, wgpu};
//!
//! # fn main() -> fallline::Result<()> {
//! let gpu = Gpu::noop(&wgpu::Limits::default())?;
//! let groups = [Group::new("all", AdamW::new())];
//! let optimizer = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("weight", [784, 128])])?;
//! let plan = optimizer.read_plan()?;
//! let kernels: Vec<&str> = plan.kernels.iter().map(|kernel| kernel.label.as_str()).collect();
//! assert_eq!(kernels, ["control/advance", "rules/adamw"]);
//! # Ok(())
//! # }
//! ```
//!
//! `fallline export` writes a plan into files, and `docs/plan.md` of the repository describes these and how to play them.
//! With the feature `serde` everything here can be serialized, under the names that WebGPU has for it: all but
//! the texts of kernels and the contents of buffers, which belong in files of their own.

mod recorder;

use crate::{Dtype, Precision, StateFormat};

pub(crate) use recorder::{Inputs, Recorder};

/// A step, whole.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Plan {
    /// What to compile.
    pub kernels: Vec<Kernel>,
    /// What to create.
    pub buffers: Vec<Buffer>,
    /// What to bind.
    pub bind_groups: Vec<BindGroup>,
    /// What a step records into one compute pass, in this order.
    pub pass: Vec<Dispatch>,
    /// What the host writes for each step.
    pub step_input: StepInput,
    /// The parameter groups.
    pub groups: Vec<Group>,
    /// The tensors.
    pub tensors: Vec<Tensor>,
    /// What was decided about the last step, and the loss scale.
    pub reports: Reports,
}

/// A compute pipeline with one bind group layout, of group 0; its entry point is `main`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Kernel {
    /// Its name, which others may have too.
    pub label: String,
    /// The whole text of the module.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub wgsl: String,
    /// The values of its `override` constants, by name.
    #[cfg_attr(feature = "serde", serde(serialize_with = "by_name"))]
    pub constants: Vec<(&'static str, f64)>,
    /// The bindings 0, 1, 2, …
    pub bindings: Vec<Binding>,
}

/// A binding of a buffer: a `GPUBufferBindingLayout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Binding {
    /// What it is bound as.
    #[cfg_attr(feature = "serde", serde(rename = "type"))]
    pub ty: BindingType,
    /// Whether each dispatch brings an offset for it.
    pub has_dynamic_offset: bool,
}

/// What a buffer is bound as: a `GPUBufferBindingType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum BindingType {
    /// A uniform buffer.
    Uniform,
    /// A storage buffer that the kernel writes, or that another binding of it may overlap.
    Storage,
    /// A storage buffer that the kernel reads.
    ReadOnlyStorage,
}

/// A buffer, which begins as zeros but for its contents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Buffer {
    /// What lies in it.
    pub role: Role,
    /// Bytes, a multiple of 16.
    pub size: u64,
    /// A `GPUBufferUsageFlags`: what the plan needs, with `COPY_SRC` and `COPY_DST` in any case.
    pub usage: u32,
    /// What is in it before the first step; `None`: zeros.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub contents: Option<Contents>,
}

/// What lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub enum Role {
    /// Parameters.
    Param,
    /// Gradients, which the runtime writes.
    Grad,
    /// What rules keep for each element.
    State,
    /// Master copies or remainders of parameters.
    Master,
    /// What rules keep for each row, column or block.
    Vectors,
    /// What rules keep for each tensor, and for all.
    Scalars,
    /// The number of steps that each tensor has taken, a `u32` each.
    Steps,
    /// What was decided about the last step: see [`Reports`].
    Decision,
    /// The loss scale: see [`Reports`].
    LossScale,
    /// What the host writes for each step: see [`StepInput`].
    StepInput,
    /// Never written after its creation.
    Table,
    /// Written by one dispatch for another.
    Scratch,
}

/// Bytes of a buffer. Before and behind them it is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// Where they begin, a multiple of 4.
    pub offset: u64,
    /// As many as a multiple of 4.
    pub bytes: Vec<u8>,
}

/// The buffers of a kernel's bindings 0, 1, 2, …
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct BindGroup {
    /// The kernel, whose layout it has.
    pub kernel: usize,
    /// What is bound.
    pub entries: Vec<Range>,
}

/// Bytes of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Range {
    /// The buffer.
    pub buffer: usize,
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

/// A kernel that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Dispatch {
    /// Which.
    pub kernel: usize,
    /// On what.
    pub bind_group: usize,
    /// One for each binding that has a dynamic offset, in their order.
    pub dynamic_offsets: Vec<DynamicOffset>,
    /// The grid.
    pub workgroups: [u32; 3],
}

/// By how many bytes a binding moves in a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct DynamicOffset {
    /// Bytes.
    pub offset: u32,
    /// Whether they are counted from the beginning of the step's entry: see [`StepInput`].
    pub in_entry: bool,
}

/// What the host writes for each step: into an entry of a buffer of several, so that as many steps can be recorded before
/// the first is submitted. Step n takes entry n modulo their number, from byte `entry · entry_size` on.
///
/// Offsets are in bytes from the beginning of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct StepInput {
    /// The buffer of all entries.
    pub buffer: usize,
    /// How many there are.
    pub entries: u32,
    /// Bytes from one entry to the next.
    pub entry_size: u32,
    /// What the host writes for a [`Step::new`](crate::Step::new): every group with its learning rate. For any other step
    /// some words of it change.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub bytes: Vec<u8>,
    /// `f32`, multiplies the gradients: 1 / number of micro-batches.
    pub grad_factor: u32,
    /// `u32`, 1: gradients are set to zero behind the update.
    pub zero_grads: u32,
    /// `u32`, 1: the loss scale stays, for another optimizer that shares it and steps after this one.
    pub keep_loss_scale: u32,
    /// `u32`, see [`Reports::first_tensor`].
    pub reported: u32,
    /// The first of the tensors' learning rates, each an `f32`.
    pub rates: u32,
    /// A bit for each tensor, in words of 32, the lowest bit first. 1: it has no gradient in this step.
    pub without_grad: u32,
}

/// A parameter group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The name of its rule.
    pub rule: &'static str,
    /// Its learning rate.
    pub lr: f64,
    /// What the host may change from one step to the next.
    pub hyperparameters: Vec<Hyperparameter>,
}

/// A hyperparameter as a kernel has it: `1 - β1` and `ln β1`, say, for a β1. Groups whose rules have the same constants
/// share some.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Hyperparameter {
    /// Its name in the rule's WGSL.
    pub name: &'static str,
    /// Where the `f32` lies in an entry of the [`StepInput`].
    pub offset: u32,
    /// What it is.
    pub value: f64,
}

/// A tensor, and where what belongs to it lies.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its group.
    pub group: usize,
    /// Its number among learning rates, among bits of [`StepInput::without_grad`], and among step counters.
    pub number: usize,
    /// Format of the parameter.
    pub dtype: Dtype,
    /// The parameter. In 16 bits and of an odd length, two bytes more.
    pub param: Range,
    /// Format of the gradient.
    pub grad_dtype: Dtype,
    /// The gradient, as the parameter.
    pub grad: Range,
    /// What the parameter keeps of an update that is smaller than its last bit.
    pub precision: Precision,
    /// Where it keeps that, if anywhere: a master copy, or a remainder of one or two bytes.
    pub master: Option<Range>,
    /// What its rule keeps for it.
    pub state: Vec<Slot>,
}

/// A slot of a tensor's state.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Slot {
    /// torch's name of it.
    pub name: &'static str,
    /// Whether it may be negative: of state in blocks, that tells the code book.
    pub signed: bool,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its format.
    pub format: StateFormat,
    /// Where it lies: from its first byte to its last.
    pub range: Range,
    /// If it lies in tiles of 256 elements, codes and then scales, among those of other slots: bytes of a tile, and
    /// bytes from one to the next. `None`: one element behind the other.
    pub tiles: Option<Tiles>,
}

/// How the tiles of a slot lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Tiles {
    /// Bytes of a tile.
    pub size: u64,
    /// Bytes from the beginning of one to that of the next.
    pub stride: u64,
}

/// What a runtime may read back when it likes, or bind in kernels of its own. Offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Reports {
    /// The buffer of the steps' counters, a `u32` for each tensor.
    pub steps: usize,
    /// The buffer of what was decided about the last step.
    pub decision: usize,
    /// `u32`: steps so far, with those that were skipped.
    pub step: u32,
    /// `u32`: not 0 if the last one was skipped: 1, a gradient is not finite; 2, one is too large for its rule.
    pub skipped: u32,
    /// `u32`: how many were skipped so far.
    pub skipped_total: u32,
    /// `f32`: the loss scale of the last step.
    pub loss_scale: u32,
    /// `u32`: the number of the first tensor in the last step with a gradient that is not finite; `0xffffffff`: none.
    pub not_finite: u32,
    /// `u32`: the first step with such a tensor after step [`reported`](StepInput::reported); 0: there was none.
    pub first_step: u32,
    /// `u32`: that tensor.
    pub first_tensor: u32,
    /// Pairs of `f32`, of all tensors first and then of each group: the norm of the unscaled gradients before they were
    /// clipped, and the clip factor.
    pub norms: u32,
    /// The buffer of the loss scale, if gradients are measured: two `f32` for a loss kernel to bind, the scale and its
    /// reciprocal.
    pub scaler: Option<usize>,
}

#[cfg(feature = "serde")]
fn by_name<S: serde::Serializer>(
    constants: &[(&'static str, f64)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(constants.iter().copied())
}
