//! What an optimizer is made of, in the arena and over borrowed buffers.

use std::collections::HashMap;

use wgpu::{Buffer, BufferUsages};

use super::{Info, Lies, Optimizer, info::PerStep};
use crate::{
    Error, Gpu, Group, Options, Result, TensorSpec,
    abi::Placement,
    control::{Control, Measured, RowPieces},
    fits::fits,
    kernel::{KernelKey, Program, SUM_BYTES},
    layout::{Item, Layout, Place, TILE_ELEMS, TILE_VEC4},
    limits,
    records::TileSums,
    report::Reports,
    rule_set::RuleSet,
    slot::slots_of,
    tiles::{Extent, Lent},
    transfer::OWNED,
    update::{SegmentBuffers, UpdateInputs},
    vectors::{Factored, Vectors},
};

/// The tensors of an optimizer, those that left included: their numbers are not given again.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    pub(super) specs: Vec<TensorSpec>,
    pub(super) gone: Vec<bool>,
}

impl Roster {
    pub(super) fn new(specs: Vec<TensorSpec>) -> Self {
        let gone = vec![false; specs.len()];
        Self { specs, gone }
    }
}

/// What both modes need.
pub(super) struct Blueprint {
    pub(super) infos: Vec<Info>,
    pub(super) ids: HashMap<String, usize>,
    pub(super) programs: Vec<Program>,
    pub(super) rules: RuleSet,
    pub(super) layout: Layout,
}

impl Blueprint {
    pub(super) fn new(
        gpu: &Gpu,
        groups: &[Group],
        roster: &Roster,
        options: &Options,
    ) -> Result<Self> {
        let Roster { specs: tensors, gone } = roster;
        gpu.check_lost()?;
        let mut rules = RuleSet::new(groups)?;
        options.check(gpu, groups)?;
        let mut programs: Vec<Program> = Vec::new();
        let mut ids = HashMap::new();
        let mut infos = Vec::with_capacity(tensors.len());
        let mut items = Vec::with_capacity(tensors.len());
        for (index, spec) in tensors.iter().enumerate() {
            if !gone[index] && ids.insert(spec.name.clone(), index).is_some() {
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
            let rule = rules.rule_of(groups, group, spec)?;
            let key = &rules.keys[rule];
            let whole_len = spec.whole_len_elems(len_elems)?;
            let state = spec.state.unwrap_or_else(|| groups[group].state_of(whole_len));
            let formats = spec.formats(state)?;
            let hypers_at = rules.offset(rule) as u64;
            let same =
                |p: &Program| p.key == *key && p.formats == formats && p.hypers_at == hypers_at;
            let kernel = programs.iter().position(same).unwrap_or_else(|| {
                let (key, one_hyper) = (key.clone(), rules.has_one_hyper(rule));
                programs.push(Program {
                    key,
                    formats,
                    clip_value: options.clip_value.is_some(),
                    is_monitored: options.monitor.is_some(),
                    one_hyper,
                    hypers_at,
                    zero_grads: false,
                });
                programs.len() - 1
            });
            items.push(Item { kernel, len_elems });
            let slots = slots_of(&groups[group], spec);
            slots.iter().try_for_each(|slot| slot.check(spec))?;
            let (spec, gone) = (spec.clone(), gone[index]);
            infos.push(Info { spec, group, rule, state, slots, len_elems, gone, frozen: false });
        }
        let name = |tensor: usize| infos[tensor].spec.name.clone();
        let layout = limits::layout(gpu, &programs, &items, name)?;
        Ok(Self { infos, ids, programs, rules, layout })
    }

    /// The buffers of a segment that are always the engine's.
    pub(super) fn segment_buffers(
        &self,
        gpu: &Gpu,
        segment: &crate::layout::Segment,
    ) -> Result<SegmentBuffers> {
        let elems = u64::from(segment.tiles) * TILE_ELEMS;
        let program = &self.programs[segment.kernel];
        let state = match program.state_bytes() {
            0 => None,
            bytes => {
                Some((gpu.buffer("fallline state", u64::from(segment.tiles) * bytes, OWNED)?, 0))
            }
        };
        let master = match program.formats.precision.size_bytes() {
            0 => None,
            bytes => Some(gpu.buffer("fallline master", elems * bytes, OWNED)?),
        };
        Ok(SegmentBuffers { owned: None, state, master })
    }

    /// What *advance* knows of each tensor.
    pub(super) fn placements(&self) -> Vec<Placement> {
        let placement = |(index, (info, place)): (usize, (&Info, &Place))| Placement {
            group: number(info.group),
            first_vec4: place.first_tile * TILE_VEC4,
            len_vec4: fits(info.len_elems / 4, "the vec4s of a segment are counted in 32 bits"),
            tail_elems: fits(info.len_elems % 4, "less than 4"),
            number: info.spec.whole.map_or_else(|| number(index), |whole| whole.number),
            whole_vec4: number(info.whole_elem() / 4),
            first_sum: number(self.first_sum(place)),
            rule: number(info.rule),
        };
        self.infos.iter().zip(&self.layout.places).enumerate().map(placement).collect()
    }

    /// What rules keep of rows and columns, and where what is summed over each tile lies, if a rule looks at whole
    /// tensors.
    pub(super) fn vectors(&self, gpu: &Gpu) -> Result<(Vectors, Option<TileSums>)> {
        let monitored = self.programs.iter().any(|program| program.is_monitored);
        let reduces = monitored || self.rules.keys.iter().any(KernelKey::reduces);
        let size = self.layout.first_sum(self.layout.segments.len()) * SUM_BYTES;
        let size_bytes = if reduces { size.max(SUM_BYTES) } else { 0 };
        let placed = self.infos.iter().zip(&self.layout.places);
        let tensors: Vec<Factored<'_>> = placed
            .map(|(info, place)| Factored {
                spec: &info.spec,
                slots: &info.slots,
                len_elems: info.len_elems,
                first_sum: self.first_sum(place),
            })
            .collect();
        let vectors = Vectors::new(gpu, &tensors, size_bytes.next_multiple_of(256))?;
        if !reduces {
            return Ok((vectors, None));
        }
        let limit = "max_storage_buffer_binding_size";
        let found = limits::max_binding_bytes(gpu.limits());
        if size_bytes > found {
            return Err(Error::DeviceLimit { limit, expected: size_bytes, found });
        }
        let (buffer, offset) = match &vectors.memory {
            Some(memory) => (memory.buffer.clone(), memory.sums_at),
            None => (gpu.buffer("fallline sums", size_bytes, BufferUsages::STORAGE)?, 0),
        };
        Ok((vectors, Some(TileSums { buffer, offset, size_bytes })))
    }

    /// The sums of a tensor's first tile, among those of all tiles.
    fn first_sum(&self, place: &Place) -> u64 {
        self.layout.first_sum(place.segment) + u64::from(place.first_tile)
    }

    /// What the dispatches of its update bind.
    pub(super) fn update_inputs<'a>(
        &'a self,
        gpu: &'a Gpu,
        memory: &'a [SegmentBuffers],
        control: &'a Control,
        dummy: &'a Buffer,
    ) -> UpdateInputs<'a> {
        let (sums, vectors) = control.reduce.for_elements();
        UpdateInputs {
            gpu,
            programs: &self.programs,
            layout: &self.layout,
            memory,
            records: &control.records,
            hypers: control.inputs.buffer(),
            sums,
            vectors,
            dummy,
        }
    }

    /// What *measure* knows of each gradient.
    fn measured(&self, vectors: &Vectors) -> Vec<Measured> {
        let shapes = vectors.memory.as_ref().map(|memory| &memory.shapes);
        let margins = |index: usize, info: &Info| {
            let shape = shapes.map(|shapes| shapes[index])?;
            (shape.rows > 0).then_some((info.rule, shape))
        };
        let measured = |(index, info): (usize, &Info)| Measured {
            margins: margins(index, info),
            len_elems: info.len_elems,
            dtype: info.spec.grad_dtype,
            group: info.group,
            whole_elem: info.whole_elem(),
        };
        self.infos.iter().enumerate().map(measured).collect()
    }

    /// The pieces of gradients to sum.
    pub(super) fn rows(
        &self,
        gpu: &Gpu,
        groups: &[Group],
        options: &Options,
        vectors: &Vectors,
    ) -> Result<RowPieces> {
        let limits = gpu.limits();
        let (bytes, most) = (limits::max_binding_bytes(limits), limits::max_workgroups(limits));
        let measured = self.measured(vectors);
        let rows = RowPieces::new(&measured, bytes, most).margins(&measured)?;
        Ok(if options.measures(groups) { rows.squares(&measured, groups.len()) } else { rows })
    }

    /// What is known of each tensor over borrowed buffers.
    pub(super) fn extents(&self) -> Vec<Extent> {
        let extent = |(info, place): (&Info, &Place)| {
            let program = &self.programs[self.layout.segments[place.segment].kernel];
            Extent {
                len_elems: info.len_elems,
                elem_bytes: (info.spec.dtype.size_bytes(), info.spec.grad_dtype.size_bytes()),
                place: *place,
                state_or_master_bytes: program.state_or_master_bytes(),
                window_tiles: program.window_tiles(),
            }
        };
        self.infos.iter().zip(&self.layout.places).map(extent).collect()
    }

    /// Where the gradients lie in buffers of the engine's, and these.
    pub(super) fn arena_grads(
        &self,
        memory: &[SegmentBuffers],
    ) -> (Vec<Option<Lent>>, Vec<Buffer>) {
        let mut buffers = Vec::new();
        let mut numbers = Vec::new();
        for segment in memory {
            numbers.push(segment.owned.as_ref().map(|_| buffers.len()));
            buffers.extend(segment.owned.as_ref().map(|(_, grad)| grad.clone()));
        }
        let grad = |(info, place): (&Info, &Place)| {
            let elem_bytes = info.spec.grad_dtype.size_bytes();
            let offset = u64::from(place.first_tile) * TILE_ELEMS * elem_bytes;
            Some(Lent { buffer: numbers[place.segment]?, offset })
        };
        (self.infos.iter().zip(&self.layout.places).map(grad).collect(), buffers)
    }

    pub(super) fn finish(
        self,
        gpu: &Gpu,
        groups: &[Group],
        options: &Options,
        (memory, vectors, dummy): (Vec<SegmentBuffers>, Vectors, Buffer),
        control: Control,
        lies: Lies,
    ) -> Result<Optimizer> {
        // Tables and records are written now, so that a step finds them whatever is submitted first.
        gpu.checked("tables", || gpu.queue().submit([]))?;
        gpu.check_lost()?;
        let Self { infos, ids, programs, rules, layout } = self;
        let reports = match control.measure() {
            Some(measure) => Some(Reports::new(gpu, measure, groups.len())?),
            None => None,
        };
        let mode_word = gpu.filled("fallline mode", BufferUsages::COPY_SRC, &[0u32])?;
        let (gpu, groups) = (gpu.clone(), groups.to_vec());
        Ok(Optimizer {
            gpu,
            groups,
            per_step: PerStep::of(&infos),
            infos,
            ids,
            programs,
            layout,
            memory,
            vectors,
            dummy,
            rules,
            control,
            lies,
            reports,
            options: options.clone(),
            steps: 0,
            evaluating: None,
            mode_word,
        })
    }
}

/// A number in 32 bits. Saturates: nothing checks how long the whole is that a tensor is a piece of, nor how
/// many tiles all segments have together where nothing is summed.
fn number(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}
