//! Which kernels there are, and from a rule and formats to the text, the constants and the bindings of one.

mod check;
mod constants;
mod outline;
mod page;
#[cfg(test)]
mod recipes;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use fallline_shaders::{Source, control, probes};
use wgpu::{BindGroupLayout, ComputePipeline};

pub(crate) use check::check as check_rule;
pub(crate) use constants::{fold, row_workgroups, workgroup_size};
pub use page::{KernelPlaces, KernelStage, kernel_wgsl};

use crate::{
    Dtype, Slot, SlotShape, StateFormat, abi,
    layout::{SUM_TILES, TILE_ELEMS},
    rules::Rule,
    slot,
    tensor::Formats,
};

/// Tensors whose records fit the uniform buffer of `tables/tensors_uniform.wgsl`.
pub(crate) const MAX_UNIFORM_TENSORS: usize = 1024;

/// Runs that fit the uniform buffer of `tables/runs_uniform.wgsl`.
pub(crate) const MAX_UNIFORM_RUNS: usize = 2048;

/// Bytes of that buffer.
pub(crate) const UNIFORM_RUNS_BYTES: u64 = (MAX_UNIFORM_RUNS * size_of::<abi::Run>()) as u64;

/// Sets of hyperparameters that a kernel can tell apart: the length of `hypers` in the frames, 16 KiB.
pub(crate) const MAX_HYPERS: usize = 512;

/// Bytes of that buffer.
pub(crate) const HYPERS_BYTES: u64 = (MAX_HYPERS * size_of::<abi::Hyper>()) as u64;

/// Bytes of what is summed over a tile.
pub(crate) const SUM_BYTES: u64 = 16;

/// A kernel, whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Recipe {
    /// Updates tensors, or adds up gradients.
    Update(Update),
    /// `control/measure.wgsl` for gradients in this format.
    Measure {
        grad: Dtype,
        /// Single elements are touched, not whole vec4s.
        ragged: bool,
    },
    /// `control/total.wgsl`
    Total,
    /// `control/decide.wgsl`
    Decide { skip_non_finite: bool },
    /// `control/advance.wgsl` for one rule
    Advance {
        /// The rule, which is this number among those of the optimizer.
        key: KernelKey,
        number: u32,
    },
    /// `control/finish.wgsl` for one rule
    Finish {
        /// The rule, which is this number among those of the optimizer.
        key: KernelKey,
        number: u32,
    },
    /// `control/expand.wgsl`
    Expand,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
    pub(crate) recipe: Arc<Recipe>,
}

/// Who owns parameters and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Frame {
    Arena,
    Borrowed {
        /// Single elements are touched, not whole vec4s.
        ragged: bool,
        /// One binding serves parameters and gradients.
        shared: bool,
        /// Where the runs lie.
        runs_in: TableIn,
    },
}

/// What a kernel of a frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Sums what the rule wants summed over a tensor.
    Reduce,
    /// Updates parameter and state.
    Update,
}

/// Which way [`KernelKey::quantize`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBlocks,
    ToValues,
}

/// What a kernel of a frame computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A step of a rule.
    Rule,
    /// Gradients are added to gradients.
    Accumulate,
    /// Values become blocks of codes, or blocks become values.
    Quantize,
    /// Nothing: words are moved as they are.
    Traffic,
}

/// What makes the kernel of one rule differ from another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelKey {
    pub(crate) kind: Kind,
    pub(crate) rule: Source,
    /// Its `override` constants.
    pub(crate) switches: Vec<(&'static str, u8)>,
    /// What it keeps for each element.
    pub(crate) slots: Vec<Slot>,
    /// What it keeps for each tensor.
    pub(crate) kept: Vec<Slot>,
    /// Whether it looks at whole tensors before it applies anything.
    pub(crate) reduces: bool,
}

impl KernelKey {
    pub(crate) fn new(rule: &dyn Rule) -> Self {
        let slots = rule.slots();
        let switches = rule.switches().into_iter();
        Self {
            kind: Kind::Rule,
            rule: rule.source(),
            switches: switches.map(|(name, on)| (name, u8::from(on))).collect(),
            kept: slots.iter().copied().filter(|slot| slot.shape == SlotShape::Scalar).collect(),
            slots: slot::tiled(&slots),
            reduces: rule.reduces(),
        }
    }

    /// The kernel that adds gradients to gradients.
    pub(crate) fn accumulate() -> Self {
        Self {
            kind: Kind::Accumulate,
            rule: control::ACCUMULATE,
            switches: Vec::new(),
            slots: Vec::new(),
            kept: Vec::new(),
            reduces: false,
        }
    }

    /// The kernel that makes blocks of values (of whatever sign, or never negative), or values of blocks.
    pub(crate) fn quantize(state: StateFormat, signed: bool, direction: Direction) -> Self {
        let stores = |what, on: bool| (what, u8::from(on));
        let mut switches = vec![
            stores("STORES_SLOTS", direction == Direction::ToBlocks),
            stores("STORES_PARAM", direction == Direction::ToValues),
        ];
        if state == StateFormat::Bf16 {
            switches.push(("STOCHASTIC_SLOTS", 0));
        }
        let blocks = Slot::moment("blocks");
        let slots = vec![if signed { blocks } else { blocks.unsigned() }];
        Self {
            kind: Kind::Quantize,
            rule: control::QUANTIZE,
            switches,
            slots,
            kept: Vec::new(),
            reduces: false,
        }
    }

    /// The kernel that moves what this one moves, and computes nothing.
    pub(crate) fn traffic(&self) -> Self {
        Self { kind: Kind::Traffic, rule: probes::TRAFFIC, switches: Vec::new(), ..self.clone() }
    }

    /// Its switches, as `override` constants.
    fn constants(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.switches.iter().map(|(name, value)| (*name, f64::from(*value)))
    }

    /// Whether its WGSL says what becomes of what it keeps for each tensor.
    pub(crate) fn keeps(&self) -> bool {
        !self.kept.is_empty()
    }
}

/// A rule in formats.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) key: KernelKey,
    pub(crate) formats: Formats,
    pub(crate) clip_value: bool,
    /// Whether all groups of the rule have the same hyperparameters.
    pub(crate) one_hyper: bool,
    /// Where these begin among those of all rules.
    pub(crate) hypers_at: u64,
}

impl Program {
    /// A kernel that is no step, and has no hyperparameters to tell apart.
    pub(crate) fn plain(key: KernelKey, formats: Formats) -> Self {
        Self { key, formats, clip_value: false, one_hyper: true, hypers_at: 0 }
    }

    /// The kernel that steps this rule in this frame.
    pub(crate) fn update(&self, frame: Frame, tensors_in: TableIn, stage: Stage) -> Update {
        Update {
            stage,
            frame,
            tensors_in,
            one_hyper: self.one_hyper,
            clip_value: self.clip_value,
            key: self.key.clone(),
            formats: self.formats,
        }
    }

    /// What it does in a step, in order.
    pub(crate) fn stages(&self) -> &'static [Stage] {
        if self.key.reduces { &[Stage::Reduce, Stage::Update] } else { &[Stage::Update] }
    }

    /// Bytes of a tile in all state slots together.
    pub(crate) fn state_bytes(&self) -> u64 {
        slot::tile_bytes(&self.key.slots, self.formats.state)
    }

    /// Bytes of a tile in the larger of the buffers that are always the engine's, state and master
    /// copies. 0 if there is neither.
    pub(crate) fn state_or_master_bytes(&self) -> u64 {
        (TILE_ELEMS * self.formats.precision.size_bytes()).max(self.state_bytes())
    }

    /// A window begins at a multiple of this many tiles, for its offset in every buffer to be a multiple of
    /// 256 bytes, the largest offset alignment that WebGPU permits.
    pub(crate) fn window_tiles(&self) -> u32 {
        // In every format of parameters and gradients a tile is a multiple of 256 bytes anyway.
        let of_state = 1 << 8u32.saturating_sub(self.state_bytes().trailing_zeros());
        if self.key.reduces { of_state.max(SUM_TILES) } else { of_state }
    }

    /// Bytes of a tile in the largest of all its buffers.
    pub(crate) fn tile_bytes(&self) -> u64 {
        let Formats { param, grad, .. } = self.formats;
        self.state_or_master_bytes().max(TILE_ELEMS * param.size_bytes().max(grad.size_bytes()))
    }
}

/// Where the tensors' records or the runs of their tiles lie: uniform if they fit, since that is read
/// faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TableIn {
    Uniform,
    Storage,
}

impl TableIn {
    /// For the records of `tensors` tensors.
    pub(crate) fn for_tensors(tensors: usize, limits: &wgpu::Limits) -> Self {
        Self::new(tensors, MAX_UNIFORM_TENSORS, size_of::<abi::Tensor>(), limits)
    }

    /// For `runs` runs.
    pub(crate) fn for_runs(runs: usize, limits: &wgpu::Limits) -> Self {
        Self::new(runs, MAX_UNIFORM_RUNS, size_of::<abi::Run>(), limits)
    }

    fn new(len: usize, most: usize, elem_bytes: usize, limits: &wgpu::Limits) -> Self {
        let fits = (most * elem_bytes) as u64 <= limits.max_uniform_buffer_binding_size;
        if fits && len <= most { Self::Uniform } else { Self::Storage }
    }
}

/// An update kernel, whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Update {
    pub(crate) stage: Stage,
    pub(crate) frame: Frame,
    pub(crate) tensors_in: TableIn,
    /// Whether all groups have the same hyperparameters.
    pub(crate) one_hyper: bool,
    /// Whether gradients are clipped by value.
    pub(crate) clip_value: bool,
    pub(crate) key: KernelKey,
    pub(crate) formats: Formats,
}

/// The kernels of a device that were compiled so far.
pub(crate) type KernelCache = Mutex<HashMap<Recipe, Kernel>>;
