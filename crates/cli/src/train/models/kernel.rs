//! What the kernels of a batch have beyond others: the batch, and bindings that say what they are.

use anyhow::Result;
use fallline::{ComputeDispatch, ComputeKernel, Gpu, wgpu};
use fallline_shaders::{Source, join};
use wgpu::{
    BindingResource, BindingType, Buffer, BufferSlice, BufferUsages, CommandEncoder, ComputePass,
};

use crate::compute;

/// A buffer, or a part of one, and how a kernel uses it.
pub(super) type Binding<'a> = (BindingType, BindingResource<'a>);

pub(super) fn read(slice: BufferSlice<'_>) -> Binding<'_> {
    (ComputeKernel::READ, compute::part(slice.buffer(), slice.offset(), slice.size()))
}

/// Of a buffer that is a struct.
pub(super) fn uniform(buffer: &Buffer) -> Binding<'_> {
    (ComputeKernel::UNIFORM, compute::part(buffer, 0, buffer.size()))
}

pub(super) fn write(slice: BufferSlice<'_>) -> Binding<'_> {
    (ComputeKernel::WRITE, compute::part(slice.buffer(), slice.offset(), slice.size()))
}

/// A kernel with its bindings and its grid.
#[derive(Debug)]
pub(super) struct Kernel {
    dispatch: ComputeDispatch,
    /// Whether it is told the batch.
    takes_batch: bool,
}

impl Kernel {
    /// Binds these resources as 0, 1, 2, … of group 0.
    pub(super) fn bind(
        kernel: &ComputeKernel,
        types: &[BindingType],
        resources: &[BindingResource<'_>],
        workgroups: [u32; 3],
    ) -> Result<Self> {
        let takes_batch = types.contains(&ComputeKernel::UNIFORM_AT);
        Ok(Self { dispatch: kernel.bind(resources, workgroups)?, takes_batch })
    }

    /// Records it for the batch at this offset of [`BatchTable`].
    pub(super) fn record(&self, pass: &mut ComputePass<'_>, offset: u32) {
        let offsets: &[u32] = if self.takes_batch { &[offset] } else { &[] };
        self.dispatch.record(pass, offsets);
    }
}

/// Compiles a kernel, named by label and WGSL, joined with these files; it is bound only once, as
/// 0, 1, 2, … of group 0.
pub(super) fn kernel(
    gpu: &Gpu,
    (label, text): (&'static str, &'static str),
    parts: &[Source],
    overrides: &[(&str, f64)],
    bindings: &[Binding<'_>],
    (x, y): (u32, u32),
) -> Result<Kernel> {
    let (types, resources): (Vec<_>, Vec<_>) = bindings.iter().cloned().unzip();
    let module = join(&[&[Source { path: label, text }], parts].concat());
    let kernel = ComputeKernel::new(gpu, label, &module, overrides, &types)?;
    Kernel::bind(&kernel, &types, &resources, [x, y, 1])
}

/// Which part of the order a batch is; as the kernels know it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Batch {
    pub(super) start: u32,
    pub(super) rows: u32,
}

impl Batch {
    /// The rows of its examples, each of which has `length`.
    pub(super) fn rows_of(self, length: u32) -> Self {
        Self { start: self.start * length, rows: self.rows * length }
    }
}

/// The batches of a round in one buffer, as far apart as the device wants dynamic offsets.
#[derive(Debug)]
pub(super) struct BatchTable {
    buffer: Buffer,
    stride: u32,
}

impl BatchTable {
    pub(super) fn new(gpu: &Gpu, batches: &[Batch]) -> Self {
        let stride = gpu.limits().min_uniform_buffer_offset_alignment.max(16);
        let mut bytes = vec![0; batches.len() * stride as usize];
        for (slot, batch) in bytes.chunks_exact_mut(stride as usize).zip(batches) {
            slot[..size_of::<Batch>()].copy_from_slice(bytemuck::bytes_of(batch));
        }
        Self { buffer: filled(gpu, "train batches", &bytes, BufferUsages::UNIFORM), stride }
    }

    /// One batch of them; which one is said when the kernel is recorded.
    pub(super) fn binding(&self) -> Binding<'_> {
        (ComputeKernel::UNIFORM_AT, compute::part(&self.buffer, 0, size_of::<Batch>() as u64))
    }

    /// The dynamic offset of a batch.
    pub(super) fn offset(&self, index: u32) -> u32 {
        index * self.stride
    }
}

/// A buffer with these bytes. Call it inside of [`Gpu::checked`].
pub(super) fn filled(gpu: &Gpu, label: &str, bytes: &[u8], usage: BufferUsages) -> Buffer {
    let usage = usage | BufferUsages::COPY_DST;
    let buffer = compute::buffer(gpu, label, bytes.len() as u64, usage);
    gpu.queue().write_buffer(&buffer, 0, bytes);
    buffer
}

/// A buffer of zeros that kernels work on. Call it inside of [`Gpu::checked`].
pub(super) fn scratch(gpu: &Gpu, label: &str, elems: u32) -> Buffer {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
    compute::buffer(gpu, label, u64::from(elems) * 4, usage)
}

/// Workgroups of 8 × 8 lanes that cover a grid.
pub(super) fn tiles(width: u32, height: u32) -> (u32, u32) {
    (width.div_ceil(8), height.div_ceil(8))
}

pub(in crate::train) fn encoder(gpu: &Gpu) -> CommandEncoder {
    gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("train") })
}

pub(super) fn begin<'a>(encoder: &'a mut CommandEncoder, label: &str) -> ComputePass<'a> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some(label),
        timestamp_writes: None,
    })
}
