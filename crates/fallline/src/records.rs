//! The record of each tensor: *advance* writes it and the update reads it.

use wgpu::{Buffer, BufferUsages};

use crate::{
    Gpu, Result, abi,
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
