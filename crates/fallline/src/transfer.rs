//! Between host and GPU: what tests, examples and checkpoints need. No step uses it.

use wgpu::{Buffer, BufferUsages};

use crate::{Error, Gpu, Result, Role, fits::fits, wait::Callback};

/// Usages of buffers that the engine owns.
pub(crate) const OWNED: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// Whether what belongs to a tensor has the expected number of elements.
pub(crate) fn check_len(tensor: &str, what: &str, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let (tensor, what) = (tensor.to_owned(), what.to_owned());
    Err(Error::Length { tensor, what, expected, found })
}

/// Whether a buffer of a tensor has a usage.
pub(crate) fn check_usage(
    tensor: &str,
    role: Role,
    buffer: &Buffer,
    expected: BufferUsages,
) -> Result<()> {
    let found = buffer.usage();
    if found.contains(expected) {
        return Ok(());
    }
    Err(Error::BufferUsage { tensor: tensor.to_owned(), role, expected, found })
}

/// Reads `len` values from byte `offset` on.
pub(crate) async fn fetch<T: bytemuck::Pod>(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: u64,
    len: u64,
) -> Result<Vec<T>> {
    fetch_mapped(gpu, &[(buffer, offset, len * size_of::<T>() as u64)]).await
}

/// Reads ranges of buffers, one behind the other: each an offset and a length in bytes, multiples of four.
pub(crate) async fn fetch_mapped<T: bytemuck::Pod>(
    gpu: &Gpu,
    ranges: &[(&Buffer, u64, u64)],
) -> Result<Vec<T>> {
    let size = ranges.iter().map(|(.., size)| size).sum();
    if size == 0 {
        return Ok(Vec::new());
    }
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let staging = gpu.buffer("fallline readback", size, usage)?;
    let mapped = Callback::new(gpu.device());
    let submitted = gpu.answered("readback", || {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("fallline readback"),
        });
        let mut at = 0;
        for (buffer, offset, size) in ranges {
            encoder.copy_buffer_to_buffer(buffer, *offset, &staging, at, *size);
            at += size;
        }
        gpu.queue().submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., mapped.completer());
    });
    submitted.await?;
    let mapped = mapped.await?;
    if mapped.is_err() {
        // A lost device refuses too; in a browser that it is lost is told a little later.
        gpu.settle().await?;
    }
    gpu.check_lost()?;
    mapped.map_err(|error| gpu.refused("readback", &error))?;
    let view = staging.slice(..size).get_mapped_range();
    let view = view.map_err(|error| gpu.refused("readback", &error))?;
    let mut values = vec![T::zeroed(); view.len() / size_of::<T>()];
    bytemuck::cast_slice_mut::<T, u8>(&mut values).copy_from_slice(&view);
    Ok(values)
}

/// Writes before the next submission.
pub(crate) fn write<T: bytemuck::Pod>(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: u64,
    values: &[T],
) -> Result<()> {
    gpu.write("upload", buffer, offset, values)
}

/// Reads `size` bytes; copies are made in words.
pub(crate) async fn fetch_bytes(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: u64,
    size: u64,
) -> Result<Vec<u8>> {
    let mut bytes = fetch(gpu, buffer, offset, size.next_multiple_of(4)).await?;
    bytes.truncate(fits(size, "no more than was read"));
    Ok(bytes)
}

/// Writes bytes in whole words: the part of a word that is not ours is written as it is found.
pub(crate) async fn store_bytes(
    gpu: &Gpu,
    (buffer, offset): (&Buffer, u64),
    mut bytes: Vec<u8>,
) -> Result<()> {
    let rest = bytes.len() % 4;
    if rest != 0 {
        let last = (bytes.len() - rest) as u64;
        let found: Vec<u8> = fetch(gpu, buffer, offset + last, 4).await?;
        bytes.extend_from_slice(&found[rest..]);
    }
    write(gpu, buffer, offset, &bytes)
}
