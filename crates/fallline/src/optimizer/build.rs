//! From groups and tensors to buffers and a plan.

use std::collections::{HashMap, HashSet};

use wgpu::BufferUsages;

use super::{Info, Memory, Optimizer};
use crate::{
    BorrowedTensor, Error, Gpu, Group, Result, TensorSpec,
    abi::Placement,
    chunks::{self, LentTensor, Reach, VEC4_BYTES},
    control::Control,
    kernel::{KernelKey, MAX_HYPERS, Program},
    layout::{Item, Layout, blocks_of},
    lend::Lending,
    plan::{self, BLOCK_BYTES, Plan, SegmentBuffers, Site},
    rules::Check,
};

impl Optimizer {
    /// An optimizer that owns parameters, gradients and state. Everything begins as zeros.
    ///
    /// Write the initial parameters with [`write_param`](Self::write_param) or by copying into
    /// [`param`](Self::param); let your kernels write the gradients into [`grad`](Self::grad).
    ///
    /// # Errors
    /// Groups or tensors given twice or unknown, a hyperparameter out of its range, a tensor larger
    /// than a buffer of the device can be, or the device out of memory.
    pub fn arena(gpu: &Gpu, groups: &[Group], tensors: &[TensorSpec]) -> Result<Self> {
        let parts = Parts::new(gpu, groups, tensors)?;
        let mut memory = Vec::new();
        for segment in &parts.layout.segments {
            let size = u64::from(segment.blocks) * BLOCK_BYTES;
            let owned = match size {
                0 => None,
                _ => Some((
                    gpu.buffer("fallline parameters", size, OWNED)?,
                    gpu.buffer("fallline gradients", size, OWNED)?,
                )),
            };
            memory.push(SegmentBuffers { owned, slots: parts.slots(gpu, segment)? });
        }
        let placements: Vec<Placement> = parts
            .infos
            .iter()
            .map(|info| Placement { group: number(info.group), ..Placement::default() })
            .collect();
        let control = Control::new(gpu, groups, &parts.hypers, &placements)?;
        let plan = Plan::arena(parts.site(gpu, &memory, &control))?;
        parts.finish(gpu, groups, Memory { segments: memory, borrowed: None }, control, plan)
    }

    /// An optimizer over parameters and gradients of the caller's; it owns the state only.
    ///
    /// Tensors may lie in one buffer or in many, and parameters and gradients in the same. The
    /// buffers need the usage STORAGE, and every offset must be a multiple of 16 bytes. Nothing
    /// outside of the given ranges is ever written.
    ///
    /// # Errors
    /// As [`arena`](Self::arena); also a range that is too short, misaligned, of another length than
    /// the tensor, or that overlaps a parameter.
    pub fn borrowed(gpu: &Gpu, groups: &[Group], tensors: &[BorrowedTensor]) -> Result<Self> {
        let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let parts = Parts::new(gpu, groups, &specs)?;
        let lending = Lending::new(tensors)?;
        let mut memory = Vec::new();
        for segment in &parts.layout.segments {
            memory.push(SegmentBuffers { owned: None, slots: parts.slots(gpu, segment)? });
        }
        let placements = placements(&parts.infos, &parts.layout, &lending);
        let control = Control::new(gpu, groups, &parts.hypers, &placements)?;
        let plan = borrowed_plan(parts.site(gpu, &memory, &control), &parts.infos, &lending)?;
        let memory = Memory { segments: memory, borrowed: Some(tensors.to_vec()) };
        parts.finish(gpu, groups, memory, control, plan)
    }

    /// Takes parameters and gradients from other places from now on: for a runtime whose gradients lie
    /// elsewhere in every step. The state and the step counters stay, and steps that are recorded
    /// already keep the places that they were recorded with.
    ///
    /// Tables and bind groups are built anew; kernels are not.
    ///
    /// # Errors
    /// As [`borrowed`](Self::borrowed); [`Error::NotBorrowed`] for an arena, [`Error::OtherTensors`]
    /// if these are not the same tensors in the same order. The optimizer is then as before.
    pub fn rebind(&mut self, tensors: &[BorrowedTensor]) -> Result<()> {
        if self.memory.borrowed.is_none() {
            return Err(Error::NotBorrowed);
        }
        let mut known = self.infos.iter().map(|info| &info.spec);
        let mut given = tensors.iter().map(|tensor| &tensor.spec);
        for index in 0..self.infos.len().max(tensors.len()) {
            let (expected, found) = (known.next(), given.next());
            if expected != found {
                let name = |spec: Option<&TensorSpec>| {
                    spec.map_or("none".into(), |spec| format!("'{}' {:?}", spec.name, spec.shape))
                };
                let (expected, found) = (name(expected), name(found));
                return Err(Error::OtherTensors { index, expected, found });
            }
        }
        let lending = Lending::new(tensors)?;
        let places = placements(&self.infos, &self.layout, &lending);
        let control = self.control.rebound(&self.gpu, &places)?;
        let site = Site { control: &control, ..self.site() };
        let plan = borrowed_plan(site, &self.infos, &lending)?;
        self.gpu.check_lost()?;
        self.control = control;
        self.plan = plan;
        self.memory.borrowed = Some(tensors.to_vec());
        Ok(())
    }
}

const OWNED: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// What both modes need.
struct Parts {
    infos: Vec<Info>,
    ids: HashMap<String, usize>,
    programs: Vec<Program>,
    /// For each group, which of its kernel's hyperparameters are its own.
    hypers: Vec<u32>,
    layout: Layout,
}

impl Parts {
    fn new(gpu: &Gpu, groups: &[Group], tensors: &[TensorSpec]) -> Result<Self> {
        gpu.check_lost()?;
        check_groups(groups)?;
        let (programs, kernels, hypers) = programs(groups)?;
        let mut ids = HashMap::new();
        let mut infos = Vec::with_capacity(tensors.len());
        let mut items = Vec::with_capacity(tensors.len());
        for (index, spec) in tensors.iter().enumerate() {
            if ids.insert(spec.name.clone(), index).is_some() {
                return Err(Error::DuplicateTensor { name: spec.name.clone() });
            }
            let group = match &spec.group {
                None => 0,
                Some(name) => groups.iter().position(|g| g.name == *name).ok_or_else(|| {
                    let known: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
                    Error::UnknownGroup {
                        tensor: spec.name.clone(),
                        group: name.clone(),
                        known: known.join(", "),
                    }
                })?,
            };
            let len_elems = spec.len_elems()?;
            items.push(Item { kernel: kernels[group], len_elems });
            infos.push(Info { spec: spec.clone(), group, len_elems });
        }
        // Kernels count the vec4s of a buffer in 32 bits.
        let max_bytes = gpu.limits().max_buffer_size.min((VEC4_BYTES << 32) - BLOCK_BYTES);
        let max_blocks = number(max_bytes / BLOCK_BYTES);
        let layout = Layout::new(&items, max_blocks).map_err(|error| Error::TensorTooLarge {
            tensor: infos[error.tensor].spec.name.clone(),
            size_bytes: blocks_of(infos[error.tensor].len_elems) * BLOCK_BYTES,
            max_bytes,
        })?;
        Ok(Self { infos, ids, programs, hypers, layout })
    }

    fn site<'a>(
        &'a self,
        gpu: &'a Gpu,
        memory: &'a [SegmentBuffers],
        control: &'a Control,
    ) -> Site<'a> {
        Site { gpu, programs: &self.programs, layout: &self.layout, memory, control }
    }

    fn slots(&self, gpu: &Gpu, segment: &crate::layout::Segment) -> Result<Vec<wgpu::Buffer>> {
        let size = u64::from(segment.blocks) * BLOCK_BYTES;
        let slots = self.programs[segment.kernel].key.slots;
        slots.iter().map(|slot| gpu.buffer(&format!("fallline {slot}"), size, OWNED)).collect()
    }

    fn finish(
        self,
        gpu: &Gpu,
        groups: &[Group],
        memory: Memory,
        control: Control,
        plan: Plan,
    ) -> Result<Optimizer> {
        // Tables and records are written now, so that a step finds them whatever is submitted first.
        gpu.checked("tables", || gpu.queue().submit([]))?;
        gpu.check_lost()?;
        let Self { infos, ids, programs, layout, .. } = self;
        let (gpu, groups) = (gpu.clone(), groups.to_vec());
        Ok(Optimizer { gpu, groups, infos, ids, programs, layout, memory, control, plan })
    }
}

fn check_groups(groups: &[Group]) -> Result<()> {
    if groups.is_empty() {
        return Err(Error::NoGroups);
    }
    let mut names = HashSet::new();
    for group in groups {
        if !names.insert(&group.name) {
            return Err(Error::DuplicateGroup { name: group.name.clone() });
        }
        group.rule.definition().check(&Check { group: &group.name })?;
    }
    Ok(())
}

/// The distinct kernels; for each group, which of them it uses and which of its hyperparameters.
fn programs(groups: &[Group]) -> Result<(Vec<Program>, Vec<usize>, Vec<u32>)> {
    let mut programs: Vec<Program> = Vec::new();
    let (mut kernels, mut indices) = (Vec::new(), Vec::new());
    for group in groups {
        let definition = group.rule.definition();
        let (key, hyper) = (KernelKey::new(definition), definition.hyper());
        let program = programs.iter().position(|known| known.key == key).unwrap_or_else(|| {
            programs.push(Program { key, hypers: Vec::new() });
            programs.len() - 1
        });
        let hypers = &mut programs[program].hypers;
        let same = |known: &[f32; 8]| known.map(f32::to_bits) == hyper.map(f32::to_bits);
        let hyper = hypers.iter().position(same).unwrap_or_else(|| {
            hypers.push(hyper);
            hypers.len() - 1
        });
        if hyper >= MAX_HYPERS {
            return Err(Error::TooManyHyperparameters { limit: MAX_HYPERS });
        }
        kernels.push(program);
        indices.push(number(hyper));
    }
    Ok((programs, kernels, indices))
}

fn placements(infos: &[Info], layout: &Layout, lending: &Lending) -> Vec<Placement> {
    let vec4 = |lent: &chunks::Lent| number(lent.offset / VEC4_BYTES);
    let place =
        |((info, place), (param, grad)): ((&Info, &crate::layout::Place), &(_, _))| Placement {
            group: number(info.group),
            param_vec4: vec4(param),
            grad_vec4: vec4(grad),
            state_vec4: place.first_block * 64,
        };
    infos.iter().zip(&layout.places).zip(&lending.ranges).map(place).collect()
}

pub(super) fn borrowed_plan(site: Site<'_>, infos: &[Info], lending: &Lending) -> Result<Plan> {
    let Site { gpu, programs, layout, .. } = site;
    let lent: Vec<LentTensor> = infos
        .iter()
        .zip(&layout.places)
        .zip(&lending.ranges)
        .map(|((info, place), (param, grad))| LentTensor {
            param: *param,
            grad: *grad,
            len_elems: info.len_elems,
            place: *place,
            has_state: !programs[layout.segments[place.segment].kernel].key.slots.is_empty(),
        })
        .collect();
    let limits = gpu.limits();
    let reach = Reach {
        max_binding_bytes: plan::max_binding_bytes(limits),
        alignment: u64::from(limits.min_storage_buffer_offset_alignment.max(16)),
        max_chunks: plan::max_chunks(limits),
    };
    let dispatches = chunks::dispatches(&lent, reach);
    Plan::borrowed(site, &lending.buffers, &dispatches)
}

/// A number that an earlier check has shown to fit.
fn number(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}
