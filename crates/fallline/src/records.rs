//! The record of each tensor: *advance* writes it and the update reads it. The sums of tiles, of which *finish* makes
//! more of it.

use wgpu::{BindingResource, Buffer, BufferUsages};

use crate::{
    Gpu, Result, abi,
    dispatch::part,
    kernel::{MAX_UNIFORM_TENSORS, TableIn},
};

/// The record of each tensor, for the update.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) buffer: Buffer,
    pub(crate) tensors_in: TableIn,
}

impl Records {
    pub(crate) fn new(gpu: &Gpu, tensors: usize) -> Result<Self> {
        let tensors_in = TableIn::for_tensors(tensors, gpu.limits());
        let (len, usage) = match tensors_in {
            TableIn::Uniform => (MAX_UNIFORM_TENSORS, BufferUsages::UNIFORM),
            TableIn::Storage => (tensors.max(1), BufferUsages::empty()),
        };
        let usage = usage | BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let size = (len * size_of::<abi::Tensor>()) as u64;
        Ok(Self { buffer: gpu.buffer("fallline tensors", size, usage)?, tensors_in })
    }
}

/// The sums of tiles: from a byte of a buffer on.
#[derive(Clone, Debug)]
pub(crate) struct TileSums {
    pub(crate) buffer: Buffer,
    pub(crate) offset: u64,
    pub(crate) size_bytes: u64,
}

impl TileSums {
    pub(crate) fn binding(&self) -> BindingResource<'_> {
        part(&self.buffer, self.offset, self.size_bytes)
    }
}
