//! The dispatches of a step, built once: for each its pipeline, its bind group and its size.

use wgpu::{
    BindGroup, BindingResource, Buffer, BufferBinding, BufferSize, BufferUsages, ComputePass,
};

use crate::{
    Gpu, Result, abi,
    chunks::{Bound, ChunkDispatch},
    control::{Control, bind},
    kernel::{self, Frame, Kernel, MAX_HYPERS, Program},
    layout::{BLOCK_ELEMS, BLOCK_LANES, Layout, windows},
};

/// Bytes of a block of f32.
pub(crate) const BLOCK_BYTES: u64 = BLOCK_ELEMS * 4;

/// The buffers of a segment.
#[derive(Debug)]
pub(crate) struct SegmentBuffers {
    /// Parameters and gradients, if the engine owns them.
    pub(crate) owned: Option<(Buffer, Buffer)>,
    /// The state slots.
    pub(crate) slots: Vec<Buffer>,
}

/// What a plan binds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) programs: &'a [Program],
    pub(crate) layout: &'a Layout,
    /// In the order of the layout's segments.
    pub(crate) memory: &'a [SegmentBuffers],
    pub(crate) control: &'a Control,
}

#[derive(Debug)]
struct Dispatch {
    kernel: Kernel,
    bind_group: BindGroup,
    workgroups: (u32, u32),
}

/// Everything that a step dispatches after the step counters.
#[derive(Debug)]
pub(crate) struct Plan {
    dispatches: Vec<Dispatch>,
}

impl Plan {
    /// The windows of every segment.
    pub(crate) fn arena(site: Site<'_>) -> Result<Self> {
        let Site { gpu, programs, layout, memory, control } = site;
        let mut dispatches = Vec::new();
        let dummy = dummy(gpu)?;
        let hypers = hypers(gpu, programs)?;
        for (number, segment) in layout.segments.iter().enumerate() {
            let Some((param, grad)) = &memory[number].owned else { continue };
            let update = programs[segment.kernel].update(Frame::Arena, control.tensors_in);
            let kernel = kernel::update(gpu, update)?;
            let table = upload(
                gpu,
                "fallline blocks",
                BufferUsages::STORAGE,
                &[bytemuck::cast_slice(&layout.block_table(number))],
            )?;
            for window in windows(segment.blocks, max_window_blocks(gpu)) {
                let blocks = u64::from(window.end - window.start);
                let first = u64::from(window.start);
                let role = |buffer| part(buffer, first * BLOCK_BYTES, blocks * BLOCK_BYTES);
                let mut bound = vec![
                    control.tensors.as_entire_binding(),
                    part(&table, first * 4, blocks * 4),
                    role(param),
                    role(grad),
                ];
                push_slots(&mut bound, &memory[number].slots, &dummy, role);
                bound.push(hypers[segment.kernel].as_entire_binding());
                dispatches.push(Dispatch {
                    bind_group: bind(gpu, "fallline arena window", &kernel, &bound)?,
                    workgroups: workgroups(gpu, blocks),
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
        let Site { gpu, programs, layout, memory, control } = site;
        let chunks: Vec<&[u8]> =
            chunk_dispatches.iter().map(|d| bytemuck::cast_slice(&d.chunks)).collect();
        let origins: Vec<_> = chunk_dispatches.iter().map(|d| [d.window()]).collect();
        let origins: Vec<&[u8]> = origins.iter().map(|w| bytemuck::cast_slice(w)).collect();
        let table = upload(gpu, "fallline chunks", BufferUsages::STORAGE, &chunks)?;
        let window_table = upload(gpu, "fallline windows", BufferUsages::UNIFORM, &origins)?;
        let dummy = dummy(gpu)?;
        let hypers = hypers(gpu, programs)?;
        let mut dispatches = Vec::new();
        let (mut table_at, mut window_at) = (0, 0);
        for (dispatch, bytes) in chunk_dispatches.iter().zip(&chunks) {
            let frame =
                Frame::Borrowed { ragged: dispatch.ragged, shared: dispatch.grad.is_none() };
            let program = layout.segments[dispatch.segment].kernel;
            let update = programs[program].update(frame, control.tensors_in);
            let kernel = kernel::update(gpu, update)?;
            let lent = |bound: &Bound| {
                part(&buffers[bound.buffer], bound.bytes.start, bound.bytes.end - bound.bytes.start)
            };
            let blocks = &dispatch.state_blocks;
            let state_bytes = u64::from(blocks.end - blocks.start) * BLOCK_BYTES;
            let slot = |buffer| part(buffer, u64::from(blocks.start) * BLOCK_BYTES, state_bytes);
            let mut bound = vec![
                control.tensors.as_entire_binding(),
                part(&table, table_at, bytes.len() as u64),
                lent(&dispatch.param),
                dispatch
                    .grad
                    .as_ref()
                    .map_or_else(|| part(&dummy, 3 * PART_ALIGNMENT, PART_ALIGNMENT), lent),
            ];
            push_slots(&mut bound, &memory[dispatch.segment].slots, &dummy, slot);
            bound.push(hypers[program].as_entire_binding());
            bound.push(part(&window_table, window_at, size_of::<abi::Window>() as u64));
            dispatches.push(Dispatch {
                bind_group: bind(gpu, "fallline borrowed window", &kernel, &bound)?,
                workgroups: workgroups(gpu, dispatch.chunks.len() as u64),
                kernel,
            });
            table_at += (bytes.len() as u64).next_multiple_of(PART_ALIGNMENT);
            window_at += PART_ALIGNMENT;
        }
        Ok(Self { dispatches })
    }

    /// Records every dispatch.
    pub(crate) fn record(&self, pass: &mut ComputePass<'_>) {
        for dispatch in &self.dispatches {
            pass.set_pipeline(&dispatch.kernel.pipeline);
            pass.set_bind_group(0, &dispatch.bind_group, &[]);
            pass.dispatch_workgroups(dispatch.workgroups.0, dispatch.workgroups.1, 1);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dispatches.len()
    }
}

/// The largest offset alignment that WebGPU permits.
const PART_ALIGNMENT: u64 = PART_ALIGNMENT_USIZE as u64;
const PART_ALIGNMENT_USIZE: usize = 256;

/// Blocks that one dispatch can reach: what a binding holds and what the dispatch limits permit.
pub(crate) fn max_window_blocks(gpu: &Gpu) -> u32 {
    let limits = gpu.limits();
    let reached = (max_binding_bytes(limits) / BLOCK_BYTES).min(max_chunks(limits));
    u32::try_from(reached).unwrap_or(u32::MAX)
}

/// Bytes of a binding. wgpu tells Metal's kernels the size of a binding in 32 bits, and naga clamps
/// indices with it; the other backends have this limit themselves.
pub(crate) fn max_binding_bytes(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min((1 << 31) - 1)
}

/// Chunks or blocks of one dispatch that the dispatch limits permit.
pub(crate) fn max_chunks(limits: &wgpu::Limits) -> u64 {
    let rows = u64::from(limits.max_compute_workgroups_per_dimension);
    let row = u64::from(kernel::row_workgroups(limits));
    let blocks_per_workgroup = u64::from(kernel::workgroup_size(limits) / BLOCK_LANES);
    (rows * row * blocks_per_workgroup).min(u32::MAX.into())
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
    gpu.buffer("fallline dummy", 4 * PART_ALIGNMENT, BufferUsages::STORAGE)
}

/// Appends the three slot bindings; those that the rule has no slot for get a part of the dummy
/// each, since writable bindings must not overlap.
fn push_slots<'a>(
    bound: &mut Vec<BindingResource<'a>>,
    slots: &'a [Buffer],
    dummy: &'a Buffer,
    window: impl Fn(&'a Buffer) -> BindingResource<'a>,
) {
    for slot in 0..3 {
        let none = || part(dummy, slot as u64 * PART_ALIGNMENT, PART_ALIGNMENT);
        bound.push(slots.get(slot).map_or_else(none, &window));
    }
}

fn part(buffer: &Buffer, offset: u64, size: u64) -> BindingResource<'_> {
    BindingResource::Buffer(BufferBinding { buffer, offset, size: BufferSize::new(size) })
}

/// One buffer with these parts, each at a multiple of [`PART_ALIGNMENT`].
fn upload(gpu: &Gpu, label: &str, usage: BufferUsages, parts: &[&[u8]]) -> Result<Buffer> {
    let mut bytes: Vec<u8> = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(PART_ALIGNMENT_USIZE), 0);
    }
    let buffer = gpu.buffer(label, bytes.len() as u64, usage | BufferUsages::COPY_DST)?;
    gpu.write(label, &buffer, 0, &bytes)?;
    Ok(buffer)
}
