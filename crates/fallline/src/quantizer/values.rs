//! Where values and blocks lie, and how to write and read them.

use wgpu::{BufferSlice, BufferUsages};

use super::{BlockTensor, Quantizer};
use crate::{Error, Result, Role, TensorId, transfer};

impl Quantizer {
    /// The tensors, in the order in which they were given.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (TensorId, &BlockTensor)> {
        self.tensors.iter().enumerate().map(|(index, tensor)| (TensorId::new(index), tensor))
    }

    /// Where the values lie. The size is rounded up to four bytes, as a binding's must be.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn values(&self, id: TensorId) -> Result<BufferSlice<'_>> {
        let tensor = self.tensor(id)?;
        let size = (tensor.spec.len_elems * tensor.spec.dtype.size_bytes()).next_multiple_of(4);
        Ok(tensor.values.buffer.slice(tensor.values.offset..tensor.values.offset + size))
    }

    /// Where the blocks lie.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn blocks(&self, id: TensorId) -> Result<BufferSlice<'_>> {
        let tensor = self.tensor(id)?;
        let size = tensor.spec.format.blocks_size_bytes(tensor.spec.len_elems);
        Ok(tensor.blocks.buffer.slice(tensor.blocks.offset..tensor.blocks.offset + size))
    }

    /// Writes values, rounded to nearest where their format is of 16 bits; takes effect before the next
    /// submission.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::UnknownTensor`]; [`Error::BufferUsage`] for a borrowed buffer
    /// without COPY_DST (in 16 bits and of odd length: without COPY_SRC too).
    pub async fn store_values(&self, id: TensorId, values: &[f32]) -> Result<()> {
        let (slice, spec) = (self.values(id)?, &self.tensor(id)?.spec);
        transfer::check_len(&spec.name, "values", spec.len_elems, values.len() as u64)?;
        transfer::check_usage(&spec.name, Role::Values, slice.buffer(), BufferUsages::COPY_DST)?;
        let bytes = spec.dtype.encode(values);
        if !bytes.len().is_multiple_of(4) {
            transfer::check_usage(
                &spec.name,
                Role::Values,
                slice.buffer(),
                BufferUsages::COPY_SRC,
            )?;
        }
        transfer::store_bytes(&self.gpu, (slice.buffer(), slice.offset()), bytes).await
    }

    /// Reads values back.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::DeviceLost`]; [`Error::BufferUsage`] for a borrowed buffer
    /// without COPY_SRC.
    pub async fn fetch_values(&self, id: TensorId) -> Result<Vec<f32>> {
        let (slice, spec) = (self.values(id)?, &self.tensor(id)?.spec);
        transfer::check_usage(&spec.name, Role::Values, slice.buffer(), BufferUsages::COPY_SRC)?;
        let size = spec.len_elems * spec.dtype.size_bytes();
        let bytes = transfer::fetch_bytes(&self.gpu, slice.buffer(), slice.offset(), size).await?;
        Ok(spec.dtype.decode(&bytes))
    }

    /// Writes the bytes of blocks; takes effect before the next submission.
    ///
    /// # Errors
    /// [`Error::Length`] if these are not
    /// [as many](crate::StateFormat::blocks_size_bytes) as the tensor's blocks have,
    /// [`Error::UnknownTensor`]; [`Error::BufferUsage`] for a borrowed buffer without COPY_DST.
    pub fn write_blocks(&self, id: TensorId, bytes: &[u8]) -> Result<()> {
        let (slice, spec) = (self.blocks(id)?, &self.tensor(id)?.spec);
        let expected = spec.format.blocks_size_bytes(spec.len_elems);
        transfer::check_len(&spec.name, "bytes of its blocks", expected, bytes.len() as u64)?;
        transfer::check_usage(&spec.name, Role::Blocks, slice.buffer(), BufferUsages::COPY_DST)?;
        transfer::write(&self.gpu, slice.buffer(), slice.offset(), bytes)
    }

    /// Reads the bytes of blocks back.
    ///
    /// # Errors
    /// As [`fetch_values`](Self::fetch_values).
    pub async fn fetch_blocks(&self, id: TensorId) -> Result<Vec<u8>> {
        let (slice, spec) = (self.blocks(id)?, &self.tensor(id)?.spec);
        transfer::check_usage(&spec.name, Role::Blocks, slice.buffer(), BufferUsages::COPY_SRC)?;
        let size = spec.format.blocks_size_bytes(spec.len_elems);
        transfer::fetch(&self.gpu, slice.buffer(), slice.offset(), size).await
    }

    fn tensor(&self, id: TensorId) -> Result<&BlockTensor> {
        let len = self.tensors.len();
        self.tensors.get(id.index()).ok_or(Error::UnknownTensor { index: id.index(), len })
    }
}
