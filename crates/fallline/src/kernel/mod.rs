//! From a rule and formats to a compute pipeline. Each distinct kernel is compiled once per device.

mod compile;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use fallline_shaders::{Source, control, probes};
use wgpu::{BindGroupLayout, ComputePipeline};

pub(crate) use compile::{KernelCache, fold, kernel, row_workgroups, workgroup_size};

use crate::{Dtype, StateFormat, abi, layout::BLOCK_ELEMS, rules::Definition, tensor::Formats};

/// Tensors whose records fit the uniform buffer of `shared/tensors_uniform.wgsl`.
pub(crate) const MAX_UNIFORM_TENSORS: usize = 1024;

/// Sets of hyperparameters that a kernel can tell apart: the length of `hypers` in the frames, 16 KiB.
pub(crate) const MAX_HYPERS: usize = 512;

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
    /// `control/decide.wgsl`
    Decide { skip_non_finite: bool },
    /// `control/advance.wgsl`
    Advance,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
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
    },
}

/// Which way [`KernelKey::quantize`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBlocks,
    ToValues,
}

/// What makes the kernel of one rule differ from another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelKey {
    pub(crate) rule: Source,
    /// Its `override` constants.
    pub(crate) switches: Vec<(&'static str, u8)>,
    pub(crate) slots: &'static [&'static str],
    /// Bit n: slot n is never negative.
    pub(crate) unsigned_slots: u8,
}

impl KernelKey {
    pub(crate) fn new(definition: &dyn Definition) -> Self {
        Self {
            rule: definition.source(),
            switches: definition
                .switches()
                .into_iter()
                .map(|(name, on)| (name, u8::from(on)))
                .collect(),
            slots: definition.slots(),
            unsigned_slots: definition.unsigned_slots(),
        }
    }

    /// The kernel that adds gradients to gradients.
    pub(crate) fn accumulate() -> Self {
        let rule = control::ACCUMULATE;
        Self { rule, switches: Vec::new(), slots: &[], unsigned_slots: 0 }
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
        let unsigned_slots = u8::from(!signed);
        Self { rule: control::QUANTIZE, switches, slots: &["blocks"], unsigned_slots }
    }

    /// The kernel that moves what this one moves, and computes nothing.
    pub(crate) fn traffic(&self) -> Self {
        Self { rule: probes::TRAFFIC, switches: Vec::new(), ..self.clone() }
    }
}

/// A rule in formats, with the distinct hyperparameters of the groups that use the rule.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) key: KernelKey,
    pub(crate) formats: Formats,
    pub(crate) clip_value: bool,
    pub(crate) hypers: Vec<abi::Hyper>,
}

impl Program {
    /// The kernel that steps this rule in this frame.
    pub(crate) fn update(&self, frame: Frame, tensors_in: TensorsIn) -> Update {
        Update {
            frame,
            tensors_in,
            one_hyper: self.hypers.len() == 1,
            clip_value: self.clip_value,
            key: self.key.clone(),
            formats: self.formats,
        }
    }

    /// Bytes of a block in the largest of the buffers that are the engine's in any case: state slots
    /// and master copies. 0 if there is none.
    pub(crate) fn home_bytes(&self) -> u64 {
        let Formats { precision, state, .. } = self.formats;
        let slot = if self.key.slots.is_empty() { 0 } else { state.block_bytes() };
        (BLOCK_ELEMS * precision.size_bytes()).max(slot)
    }

    /// Bytes of a block in the largest of all its buffers.
    pub(crate) fn block_bytes(&self) -> u64 {
        let Formats { param, grad, .. } = self.formats;
        self.home_bytes().max(BLOCK_ELEMS * param.size_bytes().max(grad.size_bytes()))
    }
}

/// Where the tensors' records lie: uniform if they fit, since that is read faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TensorsIn {
    Uniform,
    Storage,
}

impl TensorsIn {
    pub(crate) fn for_len(tensors: usize, limits: &wgpu::Limits) -> Self {
        let uniform_bytes = MAX_UNIFORM_TENSORS * size_of::<abi::Tensor>();
        let fits = uniform_bytes as u64 <= limits.max_uniform_buffer_binding_size;
        if fits && tensors <= MAX_UNIFORM_TENSORS { Self::Uniform } else { Self::Storage }
    }
}

/// An update kernel, whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Update {
    pub(crate) frame: Frame,
    pub(crate) tensors_in: TensorsIn,
    /// Whether all groups have the same hyperparameters.
    pub(crate) one_hyper: bool,
    /// Whether gradients are clipped by value.
    pub(crate) clip_value: bool,
    pub(crate) key: KernelKey,
    pub(crate) formats: Formats,
}

impl Update {
    /// Whether it adds up gradients: the place of its factor is said when it is recorded.
    pub(crate) fn accumulates(&self) -> bool {
        self.key.rule == control::ACCUMULATE
    }

    /// Whether it unscales and clips gradients: others take them as they are, or have none.
    pub(crate) fn prepares_gradients(&self) -> bool {
        ![control::ACCUMULATE, control::QUANTIZE].contains(&self.key.rule)
    }
}

type Kernels = HashMap<Recipe, Kernel>;
