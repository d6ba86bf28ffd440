//! The dispatches of a step with their bind groups, built once.

use std::{collections::HashMap, hash::Hash, ops::Range};

use wgpu::{
    BindGroup, BindingResource, Buffer, BufferBinding, BufferSize, BufferUsages, ComputePass,
};

use crate::{
    Dtype, Error, Gpu, Result, abi,
    control::Records,
    kernel::{
        self, Frame, HYPERS_BYTES, Kernel, Program, Recipe, SUM_BYTES, Stage, TableIn,
        UNIFORM_RUNS_BYTES,
    },
    layout::{BLOCK_ELEMS, BLOCK_LANES, Item, Layout, REDUCE_LANES, TooLarge, blocks_of, windows},
    lend::Buffers,
    tiles::{Bound, Grouping, Reach, TileDispatch, Windows},
};

/// The buffers of a segment.
#[derive(Debug)]
pub(crate) struct SegmentBuffers {
    /// Parameters and gradients, if the engine owns them.
    pub(crate) owned: Option<(Buffer, Buffer)>,
    /// The state, all slots together, from a byte of a buffer on; `None` if there is none.
    pub(crate) state: Option<(Buffer, u64)>,
    /// Master copies or remainders of the parameters, if they are kept.
    pub(crate) master: Option<Buffer>,
}

/// What a plan binds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) programs: &'a [Program],
    pub(crate) layout: &'a Layout,
    /// In the order of the layout's segments.
    pub(crate) memory: &'a [SegmentBuffers],
    pub(crate) records: &'a Records,
    /// The hyperparameters of all programs, at a dynamic offset.
    pub(crate) hypers: &'a Buffer,
    /// What is summed over each tile, if a rule looks at whole tensors.
    pub(crate) sums: Option<&'a Buffer>,
    pub(crate) dummy: &'a Buffer,
}

/// What is bound where a kernel declares a binding that it does not use.
pub(crate) fn dummy(gpu: &Gpu) -> Result<Buffer> {
    gpu.buffer("fallline dummy", 3 * PART_ALIGNMENT, BufferUsages::STORAGE)
}

/// Hyperparameters of programs that have none.
pub(crate) fn no_hypers(gpu: &Gpu) -> Result<Buffer> {
    gpu.buffer("fallline hypers", HYPERS_BYTES, BufferUsages::UNIFORM)
}

/// A kernel with its bind group and the size of its grid, ready to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) kernel: Kernel,
    pub(crate) bind_group: BindGroup,
    pub(crate) workgroups: [u32; 3],
}

impl Dispatch {
    /// Records the kernel, with an offset for each binding that wants one.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>, offsets: &[u32]) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, offsets);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A dispatch, and where its own part of a table begins.
#[derive(Clone, Debug)]
pub(crate) struct PartDispatch {
    pub(crate) dispatch: Dispatch,
    pub(crate) offset: u32,
}

/// Bind groups by what they bind, for as long as steps use them.
#[derive(Debug)]
pub(crate) struct BindGroups<K>(HashMap<K, (BindGroup, u64)>);

impl<K> Default for BindGroups<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> BindGroups<K> {
    /// The bind group of this key, made now if need be, for the step of this number.
    pub(crate) fn get(
        &mut self,
        key: &K,
        step: u64,
        make: impl FnOnce() -> Result<BindGroup>,
    ) -> Result<BindGroup> {
        if let Some((bind_group, used)) = self.0.get_mut(key) {
            *used = step;
            return Ok(bind_group.clone());
        }
        let bind_group = make()?;
        self.0.insert(key.clone(), (bind_group.clone(), step));
        Ok(bind_group)
    }

    /// Forgets what no step since this one used.
    pub(crate) fn expire(&mut self, oldest: u64) {
        self.0.retain(|_, (_, used)| *used >= oldest);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Dispatches by what they do, in the order of a step.
#[derive(Clone, Debug)]
pub(crate) struct Staged<T> {
    /// Those that sum what rules want summed over tensors.
    pub(crate) reduces: Vec<T>,
    pub(crate) updates: Vec<T>,
}

impl<T> Default for Staged<T> {
    fn default() -> Self {
        Self { reduces: Vec::new(), updates: Vec::new() }
    }
}

impl<T> Staged<T> {
    fn push(&mut self, stage: Stage, dispatch: T) {
        match stage {
            Stage::Reduce => self.reduces.push(dispatch),
            Stage::Update => self.updates.push(dispatch),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.reduces.iter().chain(&self.updates)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.reduces.iter_mut().chain(&mut self.updates)
    }

    pub(crate) fn len(&self) -> usize {
        self.reduces.len() + self.updates.len()
    }
}

/// The dispatches of an arena: the windows of every segment.
pub(crate) fn arena(site: Site<'_>) -> Result<Staged<Dispatch>> {
    let Site { gpu, programs, layout, memory, records, .. } = site;
    let mut dispatches = Staged::default();
    for (number, segment) in layout.segments.iter().enumerate() {
        let Some((param, grad)) = &memory[number].owned else { continue };
        let program = &programs[segment.kernel];
        let table = layout.block_table(number);
        let most = max_window_blocks(gpu, program);
        let windows = windows(segment.blocks, most, program.window_blocks());
        let tiles = windows.iter().map(|w| &table[w.start as usize..w.end as usize]);
        let tiles = Tables::new(gpu, "fallline tiles", BufferUsages::STORAGE, tiles)?;
        let origins: Vec<_> = windows.iter().map(|window| origin(window.start)).collect();
        let origins =
            Tables::new(gpu, "fallline windows", BufferUsages::UNIFORM, origins.chunks(1))?;
        for (index, window) in windows.iter().enumerate() {
            let role = |buffer, dtype: Dtype| {
                blocks_part(buffer, 0, window, BLOCK_ELEMS * dtype.size_bytes())
            };
            let bound = Bindings {
                tiles: tiles.part(index),
                param: role(param, program.formats.param),
                grad: Some(role(grad, program.formats.grad)),
                home: (number, window),
                last: origins.part(index),
            };
            let blocks = u64::from(window.end - window.start);
            for &stage in program.stages() {
                let workgroups = blocks.div_ceil(workgroup_tiles(gpu, stage));
                let (x, y) = kernel::fold(workgroups, gpu.limits());
                let update = program.update(Frame::Arena, records.tensors_in, stage);
                let kernel = kernel::kernel(gpu, Recipe::Update(update))?;
                let bind_group = bound.bind(site, "fallline arena window", &kernel, stage)?;
                dispatches.push(stage, Dispatch { kernel, bind_group, workgroups: [x, y, 1] });
            }
        }
    }
    Ok(dispatches)
}

/// The table of tiles that borrowed dispatches bind, and the runs that it names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileTable<'a> {
    /// With a dynamic offset.
    pub(crate) tiles: &'a BindingResource<'a>,
    /// With a dynamic offset.
    pub(crate) runs: &'a BindingResource<'a>,
    pub(crate) runs_in: TableIn,
}

/// The dispatches over borrowed buffers; each with the offset of its part of the tiles.
pub(crate) fn borrowed(
    site: Site<'_>,
    buffers: &Buffers,
    grouping: &Grouping,
    table: TileTable<'_>,
    (bind_groups, step): (&mut BindGroups<(Windows, Stage)>, u64),
) -> Result<Staged<PartDispatch>> {
    let Site { gpu, programs, layout, records, .. } = site;
    let mut dispatches = Staged::default();
    for TileDispatch { windows, tiles } in &grouping.dispatches {
        let Windows { segment, ragged, ref param, ref grad, ref state } = *windows;
        let frame = Frame::Borrowed { ragged, shared: grad.is_none(), runs_in: table.runs_in };
        let program = &programs[layout.segments[segment].kernel];
        for &stage in program.stages() {
            let tiles_len = u64::from(tiles.end - tiles.start);
            let workgroups = tiles_len.div_ceil(workgroup_tiles(gpu, stage));
            let x = u32::try_from(workgroups).unwrap_or(u32::MAX);
            let update = program.update(frame, records.tensors_in, stage);
            let kernel = kernel::kernel(gpu, Recipe::Update(update))?;
            let bind_group = bind_groups.get(&(windows.clone(), stage), step, || {
                let lent = |Bound { buffer, bytes }: &Bound| {
                    let buffer = buffers.get(*buffer).unwrap_or(site.dummy);
                    part(buffer, bytes.start, bytes.end - bytes.start)
                };
                let bound = Bindings {
                    tiles: table.tiles.clone(),
                    param: lent(param),
                    grad: grad.as_ref().map(lent),
                    home: (segment, state),
                    last: table.runs.clone(),
                };
                bound.bind(site, "fallline borrowed window", &kernel, stage)
            })?;
            let dispatch = Dispatch { kernel, bind_group, workgroups: [x, 1, 1] };
            dispatches.push(stage, PartDispatch { dispatch, offset: tiles.start * 4 });
        }
    }
    Ok(dispatches)
}

/// Dispatches over borrowed buffers that never move.
#[derive(Debug)]
pub(crate) struct Fixed {
    dispatches: Staged<PartDispatch>,
}

impl Fixed {
    pub(crate) fn new(site: Site<'_>, buffers: &Buffers, grouping: &Grouping) -> Result<Self> {
        let gpu = site.gpu;
        let (tiles, size) = tile_buffer(gpu, grouping, 0, 2)?;
        let runs_in = TableIn::for_runs(grouping.runs.len(), gpu.limits());
        let usage = BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let runs_bytes = size_of_val(grouping.runs.as_slice()) as u64;
        let runs = gpu.buffer("fallline runs", runs_bytes.max(UNIFORM_RUNS_BYTES), usage)?;
        gpu.write("fallline runs", &runs, 0, &grouping.runs)?;
        let runs_bytes = if runs_in == TableIn::Uniform { UNIFORM_RUNS_BYTES } else { runs_bytes };
        let (tiles, runs) = (part(&tiles, 0, size), part(&runs, 0, runs_bytes));
        let table = TileTable { tiles: &tiles, runs: &runs, runs_in };
        let mut bind_groups = BindGroups::default();
        let dispatches = borrowed(site, buffers, grouping, table, (&mut bind_groups, 0))?;
        Ok(Self { dispatches })
    }

    /// Records every dispatch, with hyperparameters at this offset.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>, hypers: u32) {
        for PartDispatch { dispatch, offset } in self.dispatches.iter() {
            dispatch.record(pass, &[*offset, hypers, 0]);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dispatches.len()
    }
}

/// A buffer with some parts for tiles, of which the first holds those of a grouping; and the bytes of a part,
/// which a binding holds from any tile of the others on.
pub(crate) fn tile_buffer(
    gpu: &Gpu,
    grouping: &Grouping,
    spare_tiles: u32,
    times: u64,
) -> Result<(Buffer, u64)> {
    let size = (u64::from(grouping.tiles()) + u64::from(spare_tiles)).max(64) * 4;
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
    let buffer = gpu.buffer("fallline tiles", size * times, usage)?;
    gpu.write("fallline tiles", &buffer, 0, &grouping.expanded())?;
    Ok((buffer, size))
}

/// The bindings of a frame.
struct Bindings<'a> {
    tiles: BindingResource<'a>,
    param: BindingResource<'a>,
    /// `None`: the parameter's binding reaches the gradients too.
    grad: Option<BindingResource<'a>>,
    /// A segment, and which blocks of it.
    home: (usize, &'a Range<u32>),
    last: BindingResource<'a>,
}

impl Bindings<'_> {
    /// Bindings that the kernel has no use for get a part of the dummy each, since writable bindings
    /// must not overlap.
    fn bind(
        &self,
        site: Site<'_>,
        label: &str,
        kernel: &Kernel,
        stage: Stage,
    ) -> Result<BindGroup> {
        let none = |number: u64| part(site.dummy, number * PART_ALIGNMENT, PART_ALIGNMENT);
        let (segment, blocks) = self.home;
        let (home, number) = (&site.memory[segment], site.layout.segments[segment].kernel);
        let program = &site.programs[number];
        let records = site.records.buffer.as_entire_binding();
        let mut bound = vec![records, self.tiles.clone(), self.param.clone()];
        bound.push(self.grad.clone().unwrap_or_else(|| none(0)));
        bound.push(match &home.state {
            Some((buffer, first)) => blocks_part(buffer, *first, blocks, program.state_bytes()),
            None => none(1),
        });
        let master_bytes = BLOCK_ELEMS * program.formats.precision.size_bytes();
        let master = home.master.as_ref();
        bound.push(master.map_or_else(|| none(2), |b| blocks_part(b, 0, blocks, master_bytes)));
        bound.push(part(site.hypers, program.hypers_at, HYPERS_BYTES));
        bound.push(self.last.clone());
        if let (Stage::Reduce, Some(sums)) = (stage, site.sums) {
            let first = site.layout.first_sum(segment) * SUM_BYTES;
            bound.push(blocks_part(sums, first, blocks, SUM_BYTES));
        }
        bind(site.gpu, label, kernel, &bound)
    }
}

/// A bind group of these resources as bindings 0, 1, 2, …
pub(crate) fn bind(
    gpu: &Gpu,
    label: &str,
    kernel: &Kernel,
    resources: &[BindingResource<'_>],
) -> Result<BindGroup> {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() })
        .collect();
    gpu.checked(label, || {
        gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &kernel.layout,
            entries: &entries,
        })
    })
}

/// Tables for several dispatches in one buffer.
#[derive(Debug)]
pub(crate) struct Tables {
    buffer: Buffer,
    parts: Vec<(u64, u64)>,
}

impl Tables {
    pub(crate) fn new<'a, T: bytemuck::NoUninit>(
        gpu: &Gpu,
        label: &str,
        usage: BufferUsages,
        tables: impl Iterator<Item = &'a [T]>,
    ) -> Result<Self> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut parts = Vec::new();
        for table in tables {
            let table: &[u8] = bytemuck::cast_slice(table);
            parts.push((bytes.len() as u64, table.len() as u64));
            bytes.extend_from_slice(table);
            bytes.resize(bytes.len().next_multiple_of(PART_ALIGNMENT_USIZE), 0);
        }
        Ok(Self { buffer: gpu.filled(label, usage, &bytes)?, parts })
    }

    /// The table of this number.
    pub(crate) fn part(&self, number: usize) -> BindingResource<'_> {
        let (offset, size) = self.parts[number];
        part(&self.buffer, offset, size)
    }
}

/// The largest offset alignment that WebGPU permits.
const PART_ALIGNMENT: u64 = PART_ALIGNMENT_USIZE as u64;
const PART_ALIGNMENT_USIZE: usize = 256;

/// Where a window of an arena begins, in every role.
fn origin(first_block: u32) -> abi::Window {
    let vec4 = first_block * BLOCK_VEC4;
    abi::Window { first_vec4: vec4, padding0: 0, padding1: 0, padding2: 0 }
}

/// vec4s of a block.
pub(crate) const BLOCK_VEC4: u32 = 64;

/// Places tensors in buffers of the device for these programs; `name` tells which one is too large.
pub(crate) fn layout(
    gpu: &Gpu,
    programs: &[Program],
    items: &[Item],
    name: impl Fn(usize) -> String,
) -> Result<Layout> {
    for program in programs {
        let least =
            Reach::least(program.block_bytes(), program.home_bytes(), program.window_blocks());
        let found = max_binding_bytes(gpu.limits());
        if found < least {
            let limit = "max_storage_buffer_binding_size";
            return Err(Error::DeviceLimit { limit, expected: least, found });
        }
    }
    let max_bytes = gpu.limits().max_buffer_size;
    // Kernels count the vec4s of a buffer in 32 bits.
    let countable = u32::MAX / BLOCK_VEC4;
    let most = |program: &Program| {
        u32::try_from(max_bytes / program.block_bytes()).unwrap_or(u32::MAX).min(countable)
    };
    let most_blocks: Vec<u32> = programs.iter().map(most).collect();
    Layout::new(items, &most_blocks).map_err(|TooLarge { tensor }| {
        let block_bytes = programs[items[tensor].kernel].block_bytes();
        Error::TensorTooLarge {
            tensor: name(tensor),
            size_bytes: blocks_of(items[tensor].len_elems).saturating_mul(block_bytes),
            max_bytes: max_bytes.min(u64::from(countable) * block_bytes),
        }
    })
}

/// Blocks that one dispatch can reach: what a binding holds and what the dispatch limits permit.
fn max_window_blocks(gpu: &Gpu, program: &Program) -> u32 {
    let limits = gpu.limits();
    let reached = (max_binding_bytes(limits) / program.block_bytes()).min(max_blocks(limits));
    u32::try_from(reached).unwrap_or(u32::MAX)
}

/// Bytes of a binding. wgpu tells Metal's kernels the size of a binding in 32 bits, and naga clamps
/// indices with it; the other backends have this limit themselves.
pub(crate) fn max_binding_bytes(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min((1 << 31) - 1)
}

/// What the bindings of a borrowed dispatch can reach. It does not fold: its last workgroup is its end.
pub(crate) fn reach(gpu: &Gpu) -> Reach {
    let limits = gpu.limits();
    let tiles = u64::from(kernel::row_workgroups(limits)) * workgroup_tiles(gpu, Stage::Update);
    Reach {
        max_binding_bytes: max_binding_bytes(limits),
        max_tiles: u32::try_from(tiles).unwrap_or(u32::MAX),
        tight: None,
    }
}

/// Workgroups of one dispatch.
pub(crate) fn max_workgroups(limits: &wgpu::Limits) -> u64 {
    let rows = u64::from(limits.max_compute_workgroups_per_dimension);
    (rows * u64::from(kernel::row_workgroups(limits))).min(u32::MAX.into())
}

/// Blocks of one dispatch that the dispatch limits permit.
fn max_blocks(limits: &wgpu::Limits) -> u64 {
    let blocks_per_workgroup = u64::from(kernel::workgroup_size(limits) / BLOCK_LANES);
    (max_workgroups(limits) * blocks_per_workgroup).min(u32::MAX.into())
}

/// Tiles of a workgroup.
fn workgroup_tiles(gpu: &Gpu, stage: Stage) -> u64 {
    let lanes = match stage {
        Stage::Reduce => REDUCE_LANES,
        Stage::Update => BLOCK_LANES,
    };
    u64::from(kernel::workgroup_size(gpu.limits()) / lanes)
}

/// Some blocks of those that begin at a byte of a buffer.
fn blocks_part<'a>(
    buffer: &'a Buffer,
    first: u64,
    blocks: &std::ops::Range<u32>,
    block_bytes: u64,
) -> BindingResource<'a> {
    let blocks_len = u64::from(blocks.end - blocks.start);
    part(buffer, first + u64::from(blocks.start) * block_bytes, blocks_len * block_bytes)
}

pub(crate) fn part(buffer: &Buffer, offset: u64, size: u64) -> BindingResource<'_> {
    BindingResource::Buffer(BufferBinding { buffer, offset, size: BufferSize::new(size) })
}
