//! From groups and tensors to buffers and a plan.

use std::collections::{HashMap, HashSet};

use wgpu::BufferUsages;

use super::{Info, Memory, Optimizer};
use crate::{
    BorrowedTensor, Error, Gpu, Group, Options, Result, TensorSpec,
    abi::{self, Placement},
    chunks::{self, Lent, LentTensor, Reach},
    control::{Control, Ground, format_number},
    kernel::{KernelKey, MAX_HYPERS, Program},
    layout::{BLOCK_ELEMS, Item, Layout, blocks_of},
    lend::Lending,
    plan::{self, BLOCK_VEC4, Plan, SegmentBuffers, Site},
    report::Reports,
    rules::Check,
};

impl Optimizer {
    /// An optimizer that owns parameters, gradients and state. Everything begins as zeros.
    ///
    /// Write the initial parameters with [`write_param`](Self::write_param) or by copying into
    /// [`param`](Self::param); let your kernels write the gradients into [`grad`](Self::grad).
    ///
    /// # Errors
    /// Groups or tensors given twice or unknown, a hyperparameter out of its range, formats that do not
    /// go together, a tensor larger than a buffer of the device can be, or the device out of memory.
    pub fn arena(gpu: &Gpu, groups: &[Group], tensors: &[TensorSpec]) -> Result<Self> {
        Self::arena_with(gpu, groups, tensors, &Options::default())
    }

    /// As [`arena`](Self::arena), with clipping, loss scaling or overflow checks.
    ///
    /// # Errors
    /// Also a limit out of its range, or a loss scaler of another device.
    pub fn arena_with(
        gpu: &Gpu,
        groups: &[Group],
        tensors: &[TensorSpec],
        options: &Options,
    ) -> Result<Self> {
        let parts = Parts::new(gpu, groups, tensors, options)?;
        let mut memory = Vec::new();
        for segment in &parts.layout.segments {
            let formats = parts.programs[segment.kernel].formats;
            let owned = match segment.blocks {
                0 => None,
                blocks => {
                    let elems = u64::from(blocks) * BLOCK_ELEMS;
                    let (param, grad) = (formats.param.size_bytes(), formats.grad.size_bytes());
                    Some((
                        gpu.buffer("fallline parameters", elems * param, OWNED)?,
                        gpu.buffer("fallline gradients", elems * grad, OWNED)?,
                    ))
                }
            };
            memory.push(SegmentBuffers { owned, ..parts.home(gpu, segment)? });
        }
        let control =
            Control::new(gpu, groups, options, &parts.hypers, &parts.arena_ground(&memory))?;
        let plan = Plan::arena(parts.site(gpu, &memory, &control))?;
        parts.finish(gpu, groups, Memory { segments: memory, borrowed: None }, control, plan)
    }

    /// An optimizer over parameters and gradients of the caller's; it owns the state only.
    ///
    /// Tensors may lie in one buffer or in many, and parameters and gradients in the same. The
    /// buffers need the usage STORAGE, and every offset must be a multiple of the bytes of four
    /// elements. Nothing outside of the given ranges is ever changed.
    ///
    /// # Errors
    /// As [`arena`](Self::arena); also a range that is too short, misaligned, of another length than
    /// the tensor, or that overlaps a parameter.
    pub fn borrowed(gpu: &Gpu, groups: &[Group], tensors: &[BorrowedTensor]) -> Result<Self> {
        Self::borrowed_with(gpu, groups, tensors, &Options::default())
    }

    /// As [`borrowed`](Self::borrowed), with clipping, loss scaling or overflow checks.
    ///
    /// # Errors
    /// Also a limit out of its range, or a loss scaler of another device.
    pub fn borrowed_with(
        gpu: &Gpu,
        groups: &[Group],
        tensors: &[BorrowedTensor],
        options: &Options,
    ) -> Result<Self> {
        let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let parts = Parts::new(gpu, groups, &specs, options)?;
        let lending = Lending::new(tensors)?;
        let mut memory = Vec::new();
        for segment in &parts.layout.segments {
            memory.push(parts.home(gpu, segment)?);
        }
        let ground = borrowed_ground(&parts.infos, &parts.layout, &lending);
        let control = Control::new(gpu, groups, options, &parts.hypers, &ground)?;
        let plan = borrowed_plan(parts.site(gpu, &memory, &control), &parts.infos, &lending)?;
        let memory = Memory { segments: memory, borrowed: Some(tensors.to_vec()) };
        let shared_grads = lending.shared_grads;
        Ok(Self { shared_grads, ..parts.finish(gpu, groups, memory, control, plan)? })
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
        let ground = borrowed_ground(&self.infos, &self.layout, &lending);
        let control = self.control.rebound(&self.gpu, &self.groups, &ground)?;
        let site = Site { records: &control.records, ..self.site() };
        let plan = borrowed_plan(site, &self.infos, &lending)?;
        self.gpu.check_lost()?;
        self.control = control;
        self.plan = plan;
        self.shared_grads = lending.shared_grads;
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
    fn new(gpu: &Gpu, groups: &[Group], tensors: &[TensorSpec], options: &Options) -> Result<Self> {
        gpu.check_lost()?;
        check_groups(groups)?;
        options.check(gpu, groups)?;
        let (rules, rule_of, hypers) = rules(groups)?;
        let mut programs: Vec<Program> = Vec::new();
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
            let (key, hypers) = &rules[rule_of[group]];
            let state = groups[group].state_of(len_elems);
            let formats = spec.formats(state)?;
            let same = |p: &Program| p.key == *key && p.formats == formats;
            let kernel = programs.iter().position(same).unwrap_or_else(|| {
                let (key, hypers) = (key.clone(), hypers.clone());
                let clip_value = options.clip_value.is_some();
                programs.push(Program { key, formats, clip_value, hypers });
                programs.len() - 1
            });
            items.push(Item { kernel, len_elems });
            infos.push(Info { spec: spec.clone(), group, state, len_elems });
        }
        let max_bytes = gpu.limits().max_buffer_size;
        let max_blocks: Vec<u32> = programs
            .iter()
            // Kernels count the vec4s of a buffer in 32 bits.
            .map(|program| number(max_bytes / program.block_bytes()).min(u32::MAX / BLOCK_VEC4))
            .collect();
        let layout = Layout::new(&items, &max_blocks).map_err(|error| {
            let block_bytes = programs[items[error.tensor].kernel].block_bytes();
            Error::TensorTooLarge {
                tensor: infos[error.tensor].spec.name.clone(),
                size_bytes: blocks_of(infos[error.tensor].len_elems) * block_bytes,
                max_bytes: max_bytes.min(u64::from(u32::MAX / BLOCK_VEC4) * block_bytes),
            }
        })?;
        Ok(Self { infos, ids, programs, hypers, layout })
    }

    fn site<'a>(
        &'a self,
        gpu: &'a Gpu,
        memory: &'a [SegmentBuffers],
        control: &'a Control,
    ) -> Site<'a> {
        let Self { programs, layout, .. } = self;
        Site { gpu, programs, layout, memory, records: &control.records }
    }

    /// The buffers of a segment that are the engine's in any case.
    fn home(&self, gpu: &Gpu, segment: &crate::layout::Segment) -> Result<SegmentBuffers> {
        let elems = u64::from(segment.blocks) * BLOCK_ELEMS;
        let Program { key, formats, .. } = &self.programs[segment.kernel];
        let slot_bytes = u64::from(segment.blocks) * formats.state.block_bytes();
        let slot = |slot: &&str| gpu.buffer(&format!("fallline {slot}"), slot_bytes, OWNED);
        let slots = key.slots.iter().map(slot).collect::<Result<_>>()?;
        let master = match formats.precision.size_bytes() {
            0 => None,
            bytes => Some(gpu.buffer("fallline master", elems * bytes, OWNED)?),
        };
        Ok(SegmentBuffers { owned: None, slots, master })
    }

    /// Where the tensors lie in buffers of the engine's.
    fn arena_ground<'a>(&self, memory: &'a [SegmentBuffers]) -> Ground<'a> {
        let mut buffers = Vec::new();
        let mut numbers = Vec::new();
        for segment in memory {
            numbers.push(buffers.len());
            buffers.extend(segment.owned.as_ref().map(|(_, grad)| grad));
        }
        let (mut placements, mut grads) = (Vec::new(), Vec::new());
        for (info, place) in self.infos.iter().zip(&self.layout.places) {
            let vec4 = place.first_block * BLOCK_VEC4;
            placements.push(Placement {
                group: number(info.group),
                param_vec4: vec4,
                grad_vec4: vec4,
                state_vec4: vec4,
                ..placement(info.len_elems)
            });
            let elem_bytes = info.spec.grad_dtype.size_bytes();
            let offset = u64::from(place.first_block) * BLOCK_ELEMS * elem_bytes;
            let grad = Lent { buffer: numbers[place.segment], offset, elem_bytes };
            grads.push(measured(info, grad));
        }
        Ground { placements, grads, buffers }
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
        let reports = match control.measure() {
            Some(measure) => Some(Reports::new(gpu, &measure.history, groups.len())?),
            None => None,
        };
        Ok(Optimizer {
            gpu: gpu.clone(),
            groups: groups.to_vec(),
            infos,
            ids,
            programs,
            layout,
            memory,
            control,
            plan,
            reports,
            shared_grads: None,
        })
    }
}

/// A gradient, as *measure* looks at it: like a parameter that has none.
fn measured(info: &Info, grad: Lent) -> LentTensor {
    LentTensor {
        param: grad,
        grad,
        len_elems: info.len_elems,
        place: crate::layout::Place {
            segment: format_number(info.spec.grad_dtype),
            first_block: 0,
            blocks: 0,
        },
        home_bytes: 0,
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

type Rules = Vec<(KernelKey, Vec<abi::Hyper>)>;

/// The distinct rules with their distinct hyperparameters; for each group, which of the rules it uses
/// and which of the rule's hyperparameters.
fn rules(groups: &[Group]) -> Result<(Rules, Vec<usize>, Vec<u32>)> {
    let mut rules: Rules = Vec::new();
    let (mut rule_of, mut hyper_of) = (Vec::new(), Vec::new());
    for group in groups {
        let definition = group.rule.definition();
        let (key, hyper) = (KernelKey::new(definition), definition.hyper());
        let rule = rules.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            rules.push((key, Vec::new()));
            rules.len() - 1
        });
        let hypers = &mut rules[rule].1;
        let same = |known: &abi::Hyper| known.map(f32::to_bits) == hyper.map(f32::to_bits);
        let hyper = hypers.iter().position(same).unwrap_or_else(|| {
            hypers.push(hyper);
            hypers.len() - 1
        });
        if hyper >= MAX_HYPERS {
            return Err(Error::TooManyHyperparameters { limit: MAX_HYPERS });
        }
        rule_of.push(rule);
        hyper_of.push(number(hyper));
    }
    Ok((rules, rule_of, hyper_of))
}

/// The placement of a tensor of this length, without its place.
fn placement(len_elems: u64) -> Placement {
    let (len_vec4, tail_elems) = (number(len_elems / 4), number(len_elems % 4));
    Placement { len_vec4, tail_elems, ..Placement::default() }
}

/// Where the tensors lie in buffers of the caller's.
fn borrowed_ground<'a>(infos: &[Info], layout: &Layout, lending: &'a Lending) -> Ground<'a> {
    let vec4 = |lent: &Lent| number(lent.offset / lent.vec4_bytes());
    let (mut placements, mut grads) = (Vec::new(), Vec::new());
    for ((info, place), (param, grad)) in infos.iter().zip(&layout.places).zip(&lending.ranges) {
        placements.push(Placement {
            group: number(info.group),
            param_vec4: vec4(param),
            grad_vec4: vec4(grad),
            state_vec4: place.first_block * BLOCK_VEC4,
            ..placement(info.len_elems)
        });
        grads.push(measured(info, *grad));
    }
    Ground { placements, grads, buffers: lending.buffers.iter().collect() }
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
            home_bytes: programs[layout.segments[place.segment].kernel].home_bytes(),
        })
        .collect();
    let dispatches = chunks::dispatches(&lent, reach(gpu));
    Plan::borrowed(site, &lending.buffers, &dispatches)
}

/// What the bindings of an update can reach.
pub(super) fn reach(gpu: &Gpu) -> Reach {
    let limits = gpu.limits();
    Reach {
        max_binding_bytes: plan::max_binding_bytes(limits),
        alignment: u64::from(limits.min_storage_buffer_offset_alignment.max(16)),
        max_chunks: plan::max_chunks(limits),
    }
}

/// A number that an earlier check has shown to fit.
pub(super) fn number(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}
