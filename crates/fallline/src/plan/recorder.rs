//! From the dispatches of a step to data.

use std::{collections::HashMap, sync::Arc};

use fallline_shaders::join;
use wgpu::BufferBindingType;

use super::{BindGroup, Binding, BindingType, Dispatch, DynamicOffset, Kernel, Range};
use crate::{
    Gpu,
    dispatch::{self, BoundRange, Pass},
    kernel::Recipe,
    ring::ENTRIES,
};

/// What a step records, in the place of a compute pass: each kernel, buffer and bind group once.
#[derive(Debug)]
pub(crate) struct Recorder {
    limits: wgpu::Limits,
    rounds_on_bits: bool,
    inputs: Inputs,
    pub(crate) kernels: Numbered<Arc<Recipe>, Kernel>,
    pub(crate) buffers: Numbered<wgpu::Buffer, ()>,
    pub(crate) bind_groups: Numbered<wgpu::BindGroup, BindGroup>,
    pub(crate) pass: Vec<Dispatch>,
}

/// Where the step's input lies.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) buffer: wgpu::Buffer,
    /// Of an entry.
    pub(crate) entry_bytes: u32,
    /// Where the step's begins.
    pub(crate) first: u32,
}

/// Things in the order in which they came, by what tells them apart.
#[derive(Debug)]
pub(crate) struct Numbered<K, T> {
    numbers: HashMap<K, usize>,
    pub(crate) things: Vec<(K, T)>,
}

impl<K: std::hash::Hash + Eq + Clone, T> Numbered<K, T> {
    fn new() -> Self {
        Self { numbers: HashMap::new(), things: Vec::new() }
    }

    fn number(&mut self, key: &K, make: impl FnOnce() -> T) -> usize {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        self.things.push((key.clone(), make()));
        self.numbers.insert(key.clone(), self.things.len() - 1);
        self.things.len() - 1
    }
}

impl Recorder {
    pub(crate) fn new(gpu: &Gpu, inputs: Inputs) -> Self {
        let (kernels, bind_groups) = (Numbered::new(), Numbered::new());
        let (buffers, pass) = (Numbered::new(), Vec::new());
        let (limits, rounds_on_bits) = (gpu.limits().clone(), gpu.rounds_on_bits());
        Self { limits, rounds_on_bits, inputs, kernels, buffers, bind_groups, pass }
    }

    /// The number of a buffer.
    pub(crate) fn buffer(&mut self, buffer: &wgpu::Buffer) -> usize {
        self.buffers.number(buffer, || ())
    }

    /// Bytes of a buffer.
    pub(crate) fn range(&mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Range {
        Range { buffer: self.buffer(buffer), offset, size }
    }

    /// Whether kernels write a buffer.
    pub(crate) fn is_written(&self, number: usize) -> bool {
        self.bind_groups.things.iter().any(|(_, group)| {
            let bindings = &self.kernels.things[group.kernel].1.bindings;
            let mut bound = bindings.iter().zip(&group.entries);
            bound.any(|(binding, entry)| {
                binding.ty == BindingType::Storage && entry.buffer == number
            })
        })
    }

    /// By how much the step's entry moves a binding that has this offset in the step, or anything else does.
    fn dynamic_offset(&self, bound: &BoundRange, offset: u32) -> DynamicOffset {
        let Inputs { buffer, entry_bytes, first } = &self.inputs;
        // Behind the entries lies what no step brings.
        let in_entry = bound.buffer == *buffer && offset < ENTRIES * entry_bytes;
        DynamicOffset { offset: if in_entry { offset - first } else { offset }, in_entry }
    }
}

impl Pass for Recorder {
    fn dispatch(&mut self, dispatch: &dispatch::Dispatch, offsets: &[u32]) {
        let dispatch::BindGroup { group, entries } = &dispatch.bind_group;
        // What a step brings may be that gradients are set to zero.
        let recipe = &dispatch.kernel.recipe;
        let recipe = recipe.with_zero_grads().map_or_else(|| Arc::clone(recipe), Arc::new);
        let (limits, on_bits) = (&self.limits, self.rounds_on_bits);
        let kernel = self.kernels.number(&recipe, || kernel(&recipe, limits, on_bits));
        let bound: Vec<Range> =
            entries.iter().map(|e| self.range(&e.buffer, e.offset, e.size)).collect();
        let bind_group = self.bind_groups.number(group, || BindGroup { kernel, entries: bound });
        let bindings = self.kernels.things[kernel].1.bindings.iter().zip(&**entries);
        let moved = bindings.filter(|(binding, _)| binding.has_dynamic_offset);
        let dynamic_offsets =
            moved.zip(offsets).map(|((_, bound), offset)| self.dynamic_offset(bound, *offset));
        let dynamic_offsets = dynamic_offsets.collect();
        let workgroups = dispatch.workgroups;
        self.pass.push(Dispatch { kernel, bind_group, dynamic_offsets, workgroups });
    }
}

fn kernel(recipe: &Recipe, limits: &wgpu::Limits, rounds_on_bits: bool) -> Kernel {
    let binding = |ty: wgpu::BindingType| match ty {
        wgpu::BindingType::Buffer { ty, has_dynamic_offset, .. } => Some(Binding {
            ty: match ty {
                BufferBindingType::Uniform => BindingType::Uniform,
                BufferBindingType::Storage { read_only: true } => BindingType::ReadOnlyStorage,
                BufferBindingType::Storage { read_only: false } => BindingType::Storage,
            },
            has_dynamic_offset,
        }),
        _ => None,
    };
    Kernel {
        label: recipe.label().to_owned(),
        wgsl: join(&recipe.sources_on(rounds_on_bits)),
        constants: recipe.constants(limits),
        bindings: recipe.bindings().into_iter().filter_map(binding).collect(),
    }
}
