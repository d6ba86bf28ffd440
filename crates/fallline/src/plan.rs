//! The dispatches of a step with their bind groups, built once.

use wgpu::{
    BindGroup, BindingResource, Buffer, BufferBinding, BufferSize, BufferUsages, ComputePass,
};

use crate::{
    Dtype, Error, Gpu, Result, abi,
    chunks::{Bound, ChunkDispatch, Reach},
    control::Records,
    kernel::{self, Frame, Kernel, MAX_HYPERS, Program, Recipe},
    layout::{BLOCK_ELEMS, BLOCK_LANES, Item, Layout, TooLarge, blocks_of, windows},
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
}

/// A kernel with its bind group and the size of its grid, ready to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) kernel: Kernel,
    pub(crate) bind_group: BindGroup,
    pub(crate) workgroups: (u32, u32),
}

impl Dispatch {
    /// Records the kernel, with an offset for each binding that wants one.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>, offsets: &[u32]) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, offsets);
        pass.dispatch_workgroups(self.workgroups.0, self.workgroups.1, 1);
    }
}

/// Everything that a step dispatches after the step counters.
#[derive(Debug)]
pub(crate) struct Plan {
    dispatches: Vec<Dispatch>,
}

impl Plan {
    /// The windows of every segment.
    pub(crate) fn arena(site: Site<'_>) -> Result<Self> {
        let Site { gpu, programs, layout, memory, records } = site;
        let mut dispatches = Vec::new();
        let dummy = dummy(gpu)?;
        let hypers = hypers(gpu, programs)?;
        for (number, segment) in layout.segments.iter().enumerate() {
            let Some((param, grad)) = &memory[number].owned else { continue };
            let program = &programs[segment.kernel];
            let update = program.update(Frame::Arena, records.tensors_in);
            let kernel = kernel::kernel(gpu, Recipe::Update(update))?;
            let table = layout.block_table(number);
            let windows =
                windows(segment.blocks, max_window_blocks(gpu, program), program.window_blocks());
            let blocks = windows.iter().map(|w| &table[w.start as usize..w.end as usize]);
            let blocks = Tables::new(gpu, "fallline blocks", BufferUsages::STORAGE, blocks)?;
            let origins: Vec<_> = windows.iter().map(|window| origin(window.start)).collect();
            let origins = Tables::windows(gpu, &origins)?;
            for (index, window) in windows.iter().enumerate() {
                let role = |buffer, dtype: Dtype| {
                    blocks_part(buffer, 0, window, BLOCK_ELEMS * dtype.size_bytes())
                };
                let bound = Bindings {
                    records: &records.buffer,
                    table: blocks.part(index),
                    param: role(param, program.formats.param),
                    grad: Some(role(grad, program.formats.grad)),
                    home: (&memory[number], window),
                    hypers: &hypers[segment.kernel],
                    window: origins.part(index),
                };
                dispatches.push(Dispatch {
                    bind_group: bound.bind(
                        gpu,
                        "fallline arena window",
                        program,
                        &kernel,
                        &dummy,
                    )?,
                    workgroups: workgroups(gpu, u64::from(window.end - window.start)),
                    kernel: kernel.clone(),
                });
            }
        }
        Ok(Self { dispatches })
    }

    /// The given dispatches over borrowed buffers.
    pub(crate) fn borrowed(
        site: Site<'_>,
        buffers: &[Buffer],
        chunk_dispatches: &[ChunkDispatch],
    ) -> Result<Self> {
        let hypers = hypers(site.gpu, site.programs)?;
        Self::borrowed_with(site, buffers, chunk_dispatches, &hypers)
    }

    /// As [`borrowed`](Self::borrowed), with the hyperparameters of each program.
    pub(crate) fn borrowed_with(
        site: Site<'_>,
        buffers: &[Buffer],
        chunk_dispatches: &[ChunkDispatch],
        hypers: &[Buffer],
    ) -> Result<Self> {
        let Site { gpu, programs, layout, memory, records } = site;
        let chunks = chunk_dispatches.iter().map(|dispatch| dispatch.chunks.as_slice());
        let chunks = Tables::new(gpu, "fallline chunks", BufferUsages::STORAGE, chunks)?;
        let origins: Vec<_> = chunk_dispatches.iter().map(ChunkDispatch::window).collect();
        let origins = Tables::windows(gpu, &origins)?;
        let dummy = dummy(gpu)?;
        let mut dispatches = Vec::new();
        for (index, dispatch) in chunk_dispatches.iter().enumerate() {
            let frame =
                Frame::Borrowed { ragged: dispatch.ragged, shared: dispatch.grad.is_none() };
            let number = layout.segments[dispatch.segment].kernel;
            let program = &programs[number];
            let update = program.update(frame, records.tensors_in);
            let kernel = kernel::kernel(gpu, Recipe::Update(update))?;
            let lent = |bound: &Bound| {
                part(&buffers[bound.buffer], bound.bytes.start, bound.bytes.end - bound.bytes.start)
            };
            let bound = Bindings {
                records: &records.buffer,
                table: chunks.part(index),
                param: lent(&dispatch.param),
                grad: dispatch.grad.as_ref().map(lent),
                home: (&memory[dispatch.segment], &dispatch.state_blocks),
                hypers: &hypers[number],
                window: origins.part(index),
            };
            dispatches.push(Dispatch {
                bind_group: bound.bind(
                    gpu,
                    "fallline borrowed window",
                    program,
                    &kernel,
                    &dummy,
                )?,
                workgroups: workgroups(gpu, dispatch.chunks.len() as u64),
                kernel,
            });
        }
        Ok(Self { dispatches })
    }

    /// Records every dispatch.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>) {
        self.record_at(pass, &[]);
    }

    /// Records every dispatch, with an offset for each binding that wants one.
    pub(crate) fn record_at(&self, pass: &mut ComputePass<'_>, offsets: &[u32]) {
        for dispatch in &self.dispatches {
            dispatch.record(pass, offsets);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dispatches.len()
    }
}

/// The bindings of a frame.
struct Bindings<'a> {
    records: &'a Buffer,
    table: BindingResource<'a>,
    param: BindingResource<'a>,
    /// `None`: the parameter's binding reaches the gradients too.
    grad: Option<BindingResource<'a>>,
    /// What is the engine's in any case, and which blocks of it.
    home: (&'a SegmentBuffers, &'a std::ops::Range<u32>),
    hypers: &'a Buffer,
    window: BindingResource<'a>,
}

impl Bindings<'_> {
    /// Bindings that the kernel has no use for get a part of the dummy each, since writable bindings
    /// must not overlap.
    fn bind(
        self,
        gpu: &Gpu,
        label: &str,
        program: &Program,
        kernel: &Kernel,
        dummy: &Buffer,
    ) -> Result<BindGroup> {
        let none = |number: u64| part(dummy, number * PART_ALIGNMENT, PART_ALIGNMENT);
        let (home, blocks) = self.home;
        let mut bound = vec![self.records.as_entire_binding(), self.table, self.param];
        bound.push(self.grad.unwrap_or_else(|| none(0)));
        bound.push(match &home.state {
            Some((buffer, first)) => blocks_part(buffer, *first, blocks, program.state_bytes()),
            None => none(1),
        });
        let master_bytes = BLOCK_ELEMS * program.formats.precision.size_bytes();
        let master = home.master.as_ref();
        bound.push(master.map_or_else(|| none(2), |b| blocks_part(b, 0, blocks, master_bytes)));
        let hypers_size = (MAX_HYPERS * size_of::<abi::Hyper>()) as u64;
        bound.push(part(self.hypers, 0, hypers_size));
        bound.push(self.window);
        bind(gpu, label, kernel, &bound)
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

    /// A table for each window: where it begins.
    pub(crate) fn windows(gpu: &Gpu, origins: &[abi::Window]) -> Result<Self> {
        Self::new(gpu, "fallline windows", BufferUsages::UNIFORM, origins.chunks(1))
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
    abi::Window { param_vec4: vec4, grad_vec4: vec4, state_vec4: vec4, padding0: 0 }
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
    let max_bytes = gpu.limits().max_buffer_size;
    // Kernels count the vec4s of a buffer in 32 bits.
    let countable = u32::MAX / BLOCK_VEC4;
    let most = |program: &Program| {
        u32::try_from(max_bytes / program.block_bytes()).unwrap_or(u32::MAX).min(countable)
    };
    let max_blocks: Vec<u32> = programs.iter().map(most).collect();
    Layout::new(items, &max_blocks).map_err(|TooLarge { tensor }| {
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
    let reached = (max_binding_bytes(limits) / program.block_bytes()).min(max_chunks(limits));
    u32::try_from(reached).unwrap_or(u32::MAX)
}

/// Bytes of a binding. wgpu tells Metal's kernels the size of a binding in 32 bits, and naga clamps
/// indices with it; the other backends have this limit themselves.
fn max_binding_bytes(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min((1 << 31) - 1)
}

/// What the bindings of a dispatch of at most so many chunks can reach.
pub(crate) fn reach(limits: &wgpu::Limits, max_chunks: u64) -> Reach {
    Reach {
        max_binding_bytes: max_binding_bytes(limits),
        alignment: u64::from(limits.min_storage_buffer_offset_alignment.max(16)),
        max_chunks,
    }
}

/// Workgroups of one dispatch.
pub(crate) fn max_workgroups(limits: &wgpu::Limits) -> u64 {
    let rows = u64::from(limits.max_compute_workgroups_per_dimension);
    (rows * u64::from(kernel::row_workgroups(limits))).min(u32::MAX.into())
}

/// Chunks or blocks of one dispatch that the dispatch limits permit.
pub(crate) fn max_chunks(limits: &wgpu::Limits) -> u64 {
    let blocks_per_workgroup = u64::from(kernel::workgroup_size(limits) / BLOCK_LANES);
    (max_workgroups(limits) * blocks_per_workgroup).min(u32::MAX.into())
}

fn workgroups(gpu: &Gpu, blocks: u64) -> (u32, u32) {
    let blocks_per_workgroup = u64::from(kernel::workgroup_size(gpu.limits()) / BLOCK_LANES);
    kernel::fold(blocks.div_ceil(blocks_per_workgroup), gpu.limits())
}

/// The hyperparameters of each kernel, as the uniform buffer that it declares.
fn hypers(gpu: &Gpu, programs: &[Program]) -> Result<Vec<Buffer>> {
    let size = (MAX_HYPERS * size_of::<abi::Hyper>()) as u64;
    let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
    let buffer = |program: &Program| {
        let buffer = gpu.buffer("fallline hypers", size, usage)?;
        gpu.write("fallline hypers", &buffer, 0, &program.hypers)?;
        Ok(buffer)
    };
    programs.iter().map(buffer).collect()
}

/// Bound where a kernel declares a binding that it does not use.
fn dummy(gpu: &Gpu) -> Result<Buffer> {
    gpu.buffer("fallline dummy", 3 * PART_ALIGNMENT, BufferUsages::STORAGE)
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
