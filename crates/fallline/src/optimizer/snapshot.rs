//! The whole run as it is, kept on the GPU, and the way back to it.

use wgpu::{Buffer, BufferUsages, CommandEncoder};

use super::{Lies, Optimizer};
use crate::{Error, Gpu, Result, Role, TensorId, transfer};

/// What an [`Optimizer`] was at some time, on the GPU: see [`Optimizer::snapshot`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    parts: Vec<Part>,
    /// For each part the copy that it is in, and where.
    places: Vec<Place>,
    copies: Vec<Buffer>,
    seed: u32,
    numbers: Vec<u32>,
    delivered: Option<u32>,
}

/// A copy, and an offset in it.
type Place = (usize, u64);

/// Bytes that make up the run.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    buffer: Buffer,
    offset: u64,
    size_bytes: u64,
}

impl Snapshot {
    /// Bytes of GPU memory that it takes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.copies.iter().map(Buffer::size).sum()
    }
}

impl Optimizer {
    /// Copies, on the GPU, everything that steps change: parameters, master copies and remainders, state, step counters,
    /// what rules keep, the loss scale, and what was decided last. [`restore`](Self::restore) brings it back, as often as it
    /// is wanted: after a [range test](crate::RangeTest), say, or where a loss has diverged. Waits for nothing.
    ///
    /// Gradients, accumulators, groups and hyperparameters are not part of it. No step may be recorded and not yet
    /// submitted.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::Evaluating`]; [`Error::BufferUsage`] for a borrowed
    /// parameter without COPY_SRC or COPY_DST.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.needs_trained("a snapshot")?;
        let parts = self.parts()?;
        let (places, copies) = room(&self.gpu, &parts)?;
        let snapshot = Snapshot {
            parts,
            places,
            copies,
            seed: self.control.seed(),
            numbers: (0..self.infos.len()).map(|index| self.control.number(index)).collect(),
            delivered: self.reports.as_ref().map(|reports| reports.delivered()),
        };
        self.submit_copies("fallline snapshot", &snapshot, |encoder, part, (copy, at)| {
            let Part { buffer, offset, size_bytes } = part;
            encoder.copy_buffer_to_buffer(buffer, *offset, copy, at, *size_bytes);
        })?;
        Ok(snapshot)
    }

    /// Makes the optimizer what it was when the snapshot was taken, to the bit. Waits for nothing. No step may be
    /// recorded and not yet submitted; reports of the steps in between that were not handed out are lost.
    ///
    /// # Errors
    /// [`Error::OtherSnapshot`] where the snapshot is of another optimizer, or tensors were added, removed or moved since;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::Evaluating`]. The optimizer is then as before.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.needs_trained("restoring a snapshot")?;
        if self.parts()? != snapshot.parts {
            return Err(Error::OtherSnapshot);
        }
        self.submit_copies("fallline restore", snapshot, |encoder, part, (copy, at)| {
            let Part { buffer, offset, size_bytes } = part;
            encoder.copy_buffer_to_buffer(copy, at, buffer, *offset, *size_bytes);
        })?;
        let Snapshot { seed, numbers, .. } = snapshot;
        self.control.write_identity(&self.gpu, &self.rules, *seed, numbers)?;
        if let (Some(reports), Some(delivered)) = (&mut self.reports, snapshot.delivered) {
            reports.go_back(&self.gpu, delivered)?;
        }
        self.gpu.check_lost()
    }

    /// Everything that steps change.
    fn parts(&self) -> Result<Vec<Part>> {
        let whole =
            |buffer: &Buffer| Part { buffer: buffer.clone(), offset: 0, size_bytes: buffer.size() };
        let mut parts = Vec::new();
        for segment in &self.memory {
            let owned = segment.owned.as_ref().map(|(params, _)| params);
            let state = segment.state.as_ref().map(|(state, _)| state);
            for part in owned.into_iter().chain(state).chain(&segment.master).map(whole) {
                // Segments, of which there are few, may share a buffer.
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
        }
        if let Lies::Borrowed(_) = &self.lies {
            let usage = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
            for (index, info) in self.infos.iter().enumerate().filter(|(_, info)| !info.gone) {
                let slice = self.param(TensorId(index))?;
                transfer::check_usage(&info.spec.name, Role::Param, slice.buffer(), usage)?;
                let (offset, size_bytes) = (slice.offset(), slice.size());
                parts.push(Part { buffer: slice.buffer().clone(), offset, size_bytes });
            }
        }
        let scaler = self.options.loss_scaler.as_ref().map(|scaler| scaler.buffer());
        let vectors = self.vectors.memory.as_ref().map(|memory| &memory.buffer);
        let counted = self.control.counted();
        parts.extend(vectors.into_iter().chain(counted).chain(scaler).map(whole));
        parts.retain(|part| part.size_bytes > 0);
        Ok(parts)
    }

    fn submit_copies(
        &self,
        label: &'static str,
        snapshot: &Snapshot,
        mut copy: impl FnMut(&mut CommandEncoder, &Part, (&Buffer, u64)),
    ) -> Result<()> {
        let Snapshot { parts, places, copies, .. } = snapshot;
        self.gpu.checked(label, || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some(label) };
            let mut encoder = self.gpu.device().create_command_encoder(&descriptor);
            for (part, (number, at)) in parts.iter().zip(places) {
                copy(&mut encoder, part, (&copies[*number], *at));
            }
            self.gpu.queue().submit([encoder.finish()]);
        })?;
        self.gpu.check_lost()
    }
}

/// Buffers that hold all parts, as few as may be, and where in them each lies.
fn room(gpu: &Gpu, parts: &[Part]) -> Result<(Vec<Place>, Vec<Buffer>)> {
    let most = gpu.limits().max_buffer_size;
    let (mut places, mut sizes) = (Vec::new(), Vec::<u64>::new());
    for part in parts {
        if sizes.last().is_none_or(|size| most - size < part.size_bytes) {
            sizes.push(0);
        }
        let last = sizes.len() - 1;
        places.push((last, sizes[last]));
        sizes[last] += part.size_bytes;
    }
    let usage = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    let copy = |size: &u64| gpu.buffer("fallline snapshot", *size, usage);
    Ok((places, sizes.iter().map(copy).collect::<Result<_>>()?))
}
