//! A kernel with its bind group, ready to be recorded, and what bind groups are made of.

use std::{collections::HashMap, hash::Hash, ops::Range, sync::Arc};

use wgpu::{BindingResource, Buffer, BufferBinding, BufferSize, BufferUsages, ComputePass};

use crate::{Gpu, Result, compute, kernel::Kernel};

/// A kernel with its bind group and the size of its grid, ready to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) kernel: Kernel,
    pub(crate) bind_group: BindGroup,
    pub(crate) workgroups: [u32; 3],
}

impl Dispatch {
    /// Records the kernel, with an offset for each binding that wants one.
    pub(crate) fn record(&self, pass: &mut dyn Pass, offsets: &[u32]) {
        pass.dispatch(self, offsets);
    }
}

/// What dispatches are recorded into: a compute pass, or the data of a [`Plan`](crate::plan::Plan).
pub(crate) trait Pass {
    /// With an offset for each binding that wants one.
    fn dispatch(&mut self, dispatch: &Dispatch, offsets: &[u32]);
}

impl Pass for ComputePass<'_> {
    fn dispatch(&mut self, dispatch: &Dispatch, offsets: &[u32]) {
        self.set_pipeline(&dispatch.kernel.pipeline);
        self.set_bind_group(0, &dispatch.bind_group.group, offsets);
        let [x, y, z] = dispatch.workgroups;
        self.dispatch_workgroups(x, y, z);
    }
}

/// A bind group, and what wgpu does not tell of one: the range of a buffer that each binding is.
#[derive(Clone, Debug)]
pub(crate) struct BindGroup {
    pub(crate) group: wgpu::BindGroup,
    pub(crate) entries: Arc<[BoundRange]>,
}

/// A part of a buffer.
#[derive(Clone, Debug)]
pub(crate) struct BoundRange {
    pub(crate) buffer: Buffer,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl BoundRange {
    /// `None` of what is no buffer, which no kernel of the engine binds.
    fn new(resource: &BindingResource<'_>) -> Option<Self> {
        let BindingResource::Buffer(BufferBinding { buffer, offset, size }) = resource else {
            return None;
        };
        let size = size.map_or_else(|| buffer.size() - offset, BufferSize::get);
        Some(Self { buffer: (*buffer).clone(), offset: *offset, size })
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

/// A bind group of these resources as bindings 0, 1, 2, …
pub(crate) fn bind(
    gpu: &Gpu,
    label: &str,
    kernel: &Kernel,
    resources: &[BindingResource<'_>],
) -> Result<BindGroup> {
    let group = compute::bind(gpu, label, &kernel.layout, resources)?;
    Ok(BindGroup { group, entries: resources.iter().filter_map(BoundRange::new).collect() })
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
pub(crate) const PART_ALIGNMENT: u64 = PART_ALIGNMENT_USIZE as u64;
const PART_ALIGNMENT_USIZE: usize = 256;

/// Some tiles of those that begin at a byte of a buffer.
pub(crate) fn tiles_part<'a>(
    buffer: &'a Buffer,
    first: u64,
    tiles: &Range<u32>,
    tile_bytes: u64,
) -> BindingResource<'a> {
    let tiles_len = u64::from(tiles.end - tiles.start);
    part(buffer, first + u64::from(tiles.start) * tile_bytes, tiles_len * tile_bytes)
}

pub(crate) fn part(buffer: &Buffer, offset: u64, size: u64) -> BindingResource<'_> {
    BindingResource::Buffer(BufferBinding { buffer, offset, size: BufferSize::new(size) })
}
