//! Where parameters, gradients and state lie, and how to write and read them.

use wgpu::{Buffer, BufferSlice, BufferUsages};

use super::Optimizer;
use crate::{Error, Result, Role, TensorId, plan::BLOCK_BYTES, transfer};

impl Optimizer {
    /// Where the parameter lies. In the arena the slice begins at a multiple of 1024 bytes; up to
    /// the next multiple there is padding, which must not be used for anything else.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn param(&self, id: TensorId) -> Result<BufferSlice<'_>> {
        self.slice(id, Role::Param)
    }

    /// Where the gradient lies: the runtime writes it there before the step.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn grad(&self, id: TensorId) -> Result<BufferSlice<'_>> {
        self.slice(id, Role::Grad)
    }

    /// Writes a parameter; takes effect before the next submission. Until then wgpu keeps a copy, so
    /// submit now and then (an empty submission will do) when filling a large model.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::UnknownTensor`]; [`Error::BufferUsage`] for a borrowed buffer
    /// without COPY_DST.
    pub fn write_param(&self, id: TensorId, values: &[f32]) -> Result<()> {
        self.write(id, Role::Param, values)
    }

    /// Writes a gradient; takes effect before the next submission.
    ///
    /// # Errors
    /// As [`write_param`](Self::write_param).
    pub fn write_grad(&self, id: TensorId, values: &[f32]) -> Result<()> {
        self.write(id, Role::Grad, values)
    }

    /// Reads a parameter back; waits for the GPU.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::DeviceLost`]; [`Error::BufferUsage`] for a borrowed buffer
    /// without COPY_SRC.
    pub fn read_param(&self, id: TensorId) -> Result<Vec<f32>> {
        self.read(id, Role::Param)
    }

    /// Reads a gradient back; waits for the GPU.
    ///
    /// # Errors
    /// As [`read_param`](Self::read_param).
    pub fn read_grad(&self, id: TensorId) -> Result<Vec<f32>> {
        self.read(id, Role::Grad)
    }

    /// Reads a state slot back, by torch's name; waits for the GPU.
    ///
    /// # Errors
    /// [`Error::UnknownSlot`] if the tensor's rule does not keep it.
    pub fn read_state(&self, id: TensorId, slot: &str) -> Result<Vec<f32>> {
        let (buffer, offset) = self.slot(id, slot)?;
        transfer::read(&self.gpu, buffer, offset, self.infos[id.0].len_elems)
    }

    /// Writes a state slot, by torch's name; takes effect before the next submission. SGD looks at its
    /// `momentum_buffer` from the second step on: see [`write_step`](Self::write_step).
    ///
    /// # Errors
    /// [`Error::UnknownSlot`], [`Error::Length`].
    pub fn write_state(&self, id: TensorId, slot: &str, values: &[f32]) -> Result<()> {
        let (buffer, offset) = self.slot(id, slot)?;
        self.check_len(id, slot, self.infos[id.0].len_elems, values.len())?;
        transfer::write(&self.gpu, buffer, offset, values)
    }

    /// Reads the step counter of every tensor back; waits for the GPU.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn read_steps(&self) -> Result<Vec<u32>> {
        transfer::read(&self.gpu, &self.control.steps, 0, self.infos.len() as u64)
    }

    /// Writes the step counter of a tensor: how many steps it has taken. Takes effect before the
    /// next submission.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn write_step(&self, id: TensorId, step: u32) -> Result<()> {
        self.info(id)?;
        transfer::write(&self.gpu, &self.control.steps, id.0 as u64 * 4, &[step])
    }

    /// The buffer of a slot, and where in it the tensor begins.
    fn slot(&self, id: TensorId, slot: &str) -> Result<(&Buffer, u64)> {
        let info = self.info(id)?;
        let slots = self.groups[info.group].rule.slots();
        let number = slots.iter().position(|known| *known == slot).ok_or_else(|| {
            let known = if slots.is_empty() { "none".to_owned() } else { slots.join(", ") };
            Error::UnknownSlot { tensor: info.spec.name.clone(), slot: slot.to_owned(), known }
        })?;
        let place = &self.layout.places[id.0];
        let buffer = &self.memory.segments[place.segment].slots[number];
        Ok((buffer, u64::from(place.first_block) * BLOCK_BYTES))
    }

    fn check_len(&self, id: TensorId, what: &str, expected: u64, found: usize) -> Result<()> {
        let found = found as u64;
        if expected == found {
            return Ok(());
        }
        let tensor = self.info(id)?.spec.name.clone();
        Err(Error::Length { tensor, what: what.to_owned(), expected, found })
    }

    fn slice(&self, id: TensorId, role: Role) -> Result<BufferSlice<'_>> {
        let size = self.info(id)?.len_elems * 4;
        if let Some(borrowed) = &self.memory.borrowed {
            let range = match role {
                Role::Param => &borrowed[id.0].param,
                Role::Grad => &borrowed[id.0].grad,
            };
            return Ok(range.buffer.slice(range.offset..range.offset + size));
        }
        let place = &self.layout.places[id.0];
        let (param, grad) = match &self.memory.segments[place.segment].owned {
            Some(owned) => (&owned.0, &owned.1),
            // A segment of empty tensors has no buffers; any buffer holds nothing as well.
            None => (&self.control.steps, &self.control.steps),
        };
        let buffer = if role == Role::Param { param } else { grad };
        let offset = u64::from(place.first_block) * BLOCK_BYTES;
        Ok(buffer.slice(offset..offset + size))
    }

    fn read(&self, id: TensorId, role: Role) -> Result<Vec<f32>> {
        let slice = self.slice(id, role)?;
        self.need(id, role, slice.buffer(), BufferUsages::COPY_SRC)?;
        transfer::read(&self.gpu, slice.buffer(), slice.offset(), slice.size() / 4)
    }

    fn write(&self, id: TensorId, role: Role, values: &[f32]) -> Result<()> {
        let slice = self.slice(id, role)?;
        self.check_len(id, &role.to_string(), slice.size() / 4, values.len())?;
        self.need(id, role, slice.buffer(), BufferUsages::COPY_DST)?;
        transfer::write(&self.gpu, slice.buffer(), slice.offset(), values)
    }

    fn need(
        &self,
        id: TensorId,
        role: Role,
        buffer: &Buffer,
        expected: BufferUsages,
    ) -> Result<()> {
        let found = buffer.usage();
        if found.contains(expected) {
            return Ok(());
        }
        let tensor = self.info(id)?.spec.name.clone();
        Err(Error::BufferUsage { tensor, role, expected, found })
    }
}
