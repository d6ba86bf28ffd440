//! Where parameters, gradients and state lie, and how to write and read them.

use wgpu::{Buffer, BufferSlice, BufferUsages};

use super::{Info, Lies, Mode, Optimizer, borrowed::Placed};
use crate::{
    Dtype, Error, Gpu, Precision, Result, Role, Slot, SlotShape, StateFormat, TensorId, abi,
    blocks,
    layout::TILE_ELEMS,
    remainder,
    slot::{self, InTiles},
    transfer,
};

impl Optimizer {
    /// Where the parameter lies. In the arena the slice begins at a multiple of 256 elements; up to
    /// the next multiple there is padding, which must not be used for anything else. The size is
    /// rounded up to four bytes, as a binding's must be.
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

    /// Writes a parameter, and its master copy or remainder if one is kept: rounded to nearest where
    /// the format is of 16 bits, exactly in what is kept beside it. Takes effect before the next submission. Until then wgpu keeps a copy, so
    /// submit now and then (an empty submission will do) when filling a large model.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::UnknownTensor`]; [`Error::BufferUsage`] for a borrowed buffer
    /// without COPY_DST (in 16 bits and of odd length: without COPY_SRC too).
    pub async fn store_param(&self, id: TensorId, values: &[f32]) -> Result<()> {
        self.store(id, Role::Param, values).await
    }

    /// Writes a gradient; takes effect before the next submission.
    ///
    /// # Errors
    /// As [`store_param`](Self::store_param).
    pub async fn store_grad(&self, id: TensorId, values: &[f32]) -> Result<()> {
        self.store(id, Role::Grad, values).await
    }

    /// Reads a parameter back, as it lies in its buffer.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::DeviceLost`]; [`Error::BufferUsage`] for a borrowed buffer
    /// without COPY_SRC.
    pub async fn fetch_param(&self, id: TensorId) -> Result<Vec<f32>> {
        self.fetch(id, Role::Param).await
    }

    /// Reads what a parameter is to be evaluated at, without putting it there: to the bit what
    /// [`encode_eval`](Self::encode_eval) puts in its place, in the parameter's format. Of a parameter that is evaluated
    /// where it is trained, and in the mode to evaluate, that is the parameter.
    ///
    /// A copy of the parameter is made on the GPU, and another beside it, for as long as this takes.
    ///
    /// # Errors
    /// As [`fetch_param`](Self::fetch_param); [`Error::OutOfMemory`], [`Error::TooManyUnsubmittedSteps`].
    pub async fn fetch_eval(&self, id: TensorId) -> Result<Vec<f32>> {
        let slice = self.param(id)?;
        let Info { spec, len_elems, .. } = &self.infos[id.0];
        if self.mode() == Mode::Evaluate || *len_elems == 0 || !self.is_evaluated(id) {
            return self.fetch_param(id).await;
        }
        transfer::check_usage(&spec.name, Role::Param, slice.buffer(), BufferUsages::COPY_SRC)?;
        let (copy, offset) = self.copy_evaluated(id)?;
        let size = len_elems * spec.dtype.size_bytes();
        let bytes = transfer::fetch_bytes(&self.gpu, &copy, offset, size).await?;
        Ok(spec.dtype.decode(&bytes))
    }

    /// Reads a gradient back.
    ///
    /// # Errors
    /// As [`fetch_param`](Self::fetch_param).
    pub async fn fetch_grad(&self, id: TensorId) -> Result<Vec<f32>> {
        self.fetch(id, Role::Grad).await
    }

    /// Reads a state slot back, by torch's name. Its values are those of the slot's
    /// [dimensions](Slot::dims).
    ///
    /// # Errors
    /// [`Error::UnknownSlot`] if the tensor's rule does not keep it.
    pub async fn fetch_state(&self, id: TensorId, slot: &str) -> Result<Vec<f32>> {
        let (slot, place) = self.slot(id, slot)?;
        let len_elems = slot.len_elems(&self.infos[id.0].spec);
        let place = match place {
            SlotPlace::Flat { buffer, offset } => {
                return transfer::fetch(&self.gpu, buffer, offset, len_elems).await;
            }
            SlotPlace::Tiles(place) => place,
        };
        let tiles = place.tiles.gather(&place.fetch(&self.gpu).await?);
        let len = usize::try_from(len_elems).unwrap_or(usize::MAX);
        let unsigned = !slot.signed;
        Ok(blocks::decode(place.format, unsigned, &tiles, len).unwrap_or_else(|| {
            let mut values = dtype_of(place.format).decode(&tiles);
            values.truncate(len);
            values
        }))
    }

    /// Writes a state slot, by torch's name, in the format that it is kept in; reads first, since all slots
    /// of a tensor lie together. Takes effect before the next submission. SGD looks at its
    /// `momentum_buffer` from the second step on: see [`write_step`](Self::write_step).
    ///
    /// # Errors
    /// [`Error::UnknownSlot`], [`Error::Length`].
    pub async fn store_state(&self, id: TensorId, slot: &str, values: &[f32]) -> Result<()> {
        let (slot, place) = self.slot(id, slot)?;
        let info = &self.infos[id.0];
        let len_elems = slot.len_elems(&info.spec);
        transfer::check_len(&info.spec.name, slot.name, len_elems, values.len() as u64)?;
        let place = match place {
            SlotPlace::Flat { buffer, offset } => {
                return transfer::write(&self.gpu, buffer, offset, values);
            }
            SlotPlace::Tiles(place) => place,
        };
        let tiles = blocks::encode(place.format, !slot.signed, values)
            .unwrap_or_else(|| dtype_of(place.format).encode(values));
        // The other slots lie between its tiles.
        let mut bytes = place.fetch(&self.gpu).await?;
        place.tiles.scatter(&tiles, &mut bytes);
        transfer::store_bytes(&self.gpu, (place.buffer, place.offset), bytes).await
    }

    /// Reads the step counter of every tensor back.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn fetch_steps(&self) -> Result<Vec<u32>> {
        transfer::fetch(&self.gpu, &self.control.steps, 0, self.infos.len() as u64).await
    }

    /// Writes the step counter of a tensor: how many steps it has taken. Takes effect before the
    /// next submission.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn write_step(&self, id: TensorId, step: u32) -> Result<()> {
        self.info(id)?;
        self.needs_trained("writing a step counter")?;
        transfer::write(&self.gpu, &self.control.steps, id.0 as u64 * 4, &[step])
    }

    /// Reads the parameter with all that is kept of it, in f32: the master copy, or parameter and
    /// remainder together; where neither is kept, the parameter itself.
    ///
    /// # Errors
    /// As [`fetch_param`](Self::fetch_param).
    pub async fn fetch_master(&self, id: TensorId) -> Result<Vec<f32>> {
        let spec = &self.info(id)?.spec;
        let param = self.fetch_bytes(id, Role::Param).await?;
        let Some((master, offset)) = self.master(id) else {
            return Ok(spec.dtype.decode(&param));
        };
        let len_elems = self.infos[id.0].len_elems;
        if let Some(rest_bytes) = remainder_bytes(spec.precision) {
            let size = len_elems * rest_bytes as u64;
            let rests = transfer::fetch_bytes(&self.gpu, master, offset, size).await?;
            return Ok(remainder::join_all(&param, &rests, rest_bytes));
        }
        let kept: Vec<f32> = transfer::fetch(&self.gpu, master, offset, len_elems).await?;
        // As the kernel does: an element that the caller wrote counts as it was written.
        let values = spec.dtype.decode(&param);
        let rounded = spec.dtype.encode(&kept);
        let followed = rounded.as_chunks::<2>().0.iter().zip(param.as_chunks::<2>().0);
        let elem = |((same, kept), value)| if same { kept } else { value };
        Ok(followed.map(|(a, b)| a == b).zip(kept).zip(values).map(elem).collect())
    }

    /// Where the master copy or remainder of a tensor lies, if one is kept.
    pub(crate) fn master(&self, id: TensorId) -> Option<(&Buffer, u64)> {
        let place = &self.layout.places[id.0];
        let buffer = self.memory[place.segment].master.as_ref()?;
        let elem_bytes = self.infos[id.0].spec.precision.size_bytes();
        Some((buffer, u64::from(place.first_tile) * TILE_ELEMS * elem_bytes))
    }

    /// A slot of a tensor, and where it lies.
    fn slot(&self, id: TensorId, name: &str) -> Result<(Slot, SlotPlace<'_>)> {
        let info = self.info(id)?;
        let slots = &info.slots;
        let number = slots.iter().position(|known| known.name == name);
        let place = number.and_then(|number| Some((number, self.slot_place(id.0, number)?)));
        place.map(|(number, place)| (slots[number], place)).ok_or_else(|| {
            let known: Vec<&str> = slots.iter().map(|slot| slot.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let (tensor, slot) = (info.spec.name.clone(), name.to_owned());
            Error::UnknownSlot { tensor, slot, known }
        })
    }

    /// Where slot `number` of a tensor lies; `None` if the tensor has no elements, and so no tiles.
    pub(crate) fn slot_place(&self, index: usize, number: usize) -> Option<SlotPlace<'_>> {
        let info = &self.infos[index];
        let slots = &info.slots;
        let of_shape = |shape| slots[..number].iter().filter(|slot| slot.shape == shape).count();
        match slots[number].shape {
            SlotShape::Scalar => {
                let at = index * size_of::<abi::Kept>() + 4 * of_shape(SlotShape::Scalar);
                Some(SlotPlace::Flat { buffer: &self.control.kept, offset: at as u64 })
            }
            SlotShape::Joint => {
                let first = self.infos.len() + self.rules.joint_of(info.group);
                let at = first * size_of::<abi::Kept>() + 4 * of_shape(SlotShape::Joint);
                Some(SlotPlace::Flat { buffer: &self.control.kept, offset: at as u64 })
            }
            SlotShape::Rows | SlotShape::Columns | SlotShape::Blocks(_) => {
                let (buffer, offset) = self.vectors.place(index, number)?;
                Some(SlotPlace::Flat { buffer, offset })
            }
            SlotShape::Param => {
                let place = &self.layout.places[index];
                let (buffer, first) = self.memory[place.segment].state.as_ref()?;
                let stride = slot::tile_bytes(&slot::tiled(slots), info.state);
                Some(SlotPlace::Tiles(TilesPlace {
                    format: slots[number].format(info.state),
                    buffer,
                    offset: first + u64::from(place.first_tile) * stride,
                    size_bytes: u64::from(place.tiles) * stride,
                    tiles: InTiles::new(slots, number, info.state),
                }))
            }
        }
    }

    fn dtype(&self, id: TensorId, role: Role) -> Result<Dtype> {
        let spec = &self.info(id)?.spec;
        Ok(if role == Role::Param { spec.dtype } else { spec.grad_dtype })
    }

    fn slice(&self, id: TensorId, role: Role) -> Result<BufferSlice<'_>> {
        let elem_bytes = self.dtype(id, role)?.size_bytes();
        // A binding's size is a multiple of four.
        let size = (self.infos[id.0].len_elems * elem_bytes).next_multiple_of(4);
        if let Lies::Borrowed(borrowed) = &self.lies {
            let Placed { param, grad } = &borrowed.places[id.0];
            let range = if role == Role::Param { Some(param) } else { grad.as_ref() };
            let no_grad = || Error::NoGrad { tensor: self.infos[id.0].spec.name.clone() };
            let range = range.ok_or_else(no_grad)?;
            return Ok(range.buffer.slice(range.offset..range.offset + size));
        }
        let place = &self.layout.places[id.0];
        let (param, grad) = match &self.memory[place.segment].owned {
            Some(owned) => (&owned.0, &owned.1),
            // A segment of empty tensors has no buffers; any buffer holds nothing as well.
            None => (&self.control.steps, &self.control.steps),
        };
        let buffer = if role == Role::Param { param } else { grad };
        let offset = u64::from(place.first_tile) * TILE_ELEMS * elem_bytes;
        Ok(buffer.slice(offset..offset + size))
    }

    async fn fetch(&self, id: TensorId, role: Role) -> Result<Vec<f32>> {
        Ok(self.dtype(id, role)?.decode(&self.fetch_bytes(id, role).await?))
    }

    async fn fetch_bytes(&self, id: TensorId, role: Role) -> Result<Vec<u8>> {
        let slice = self.slice(id, role)?;
        let Info { spec, len_elems, .. } = &self.infos[id.0];
        transfer::check_usage(&spec.name, role, slice.buffer(), BufferUsages::COPY_SRC)?;
        let size = len_elems * self.dtype(id, role)?.size_bytes();
        transfer::fetch_bytes(&self.gpu, slice.buffer(), slice.offset(), size).await
    }

    async fn store(&self, id: TensorId, role: Role, values: &[f32]) -> Result<()> {
        if role == Role::Param {
            self.needs_trained("writing a parameter")?;
        }
        let (slice, dtype) = (self.slice(id, role)?, self.dtype(id, role)?);
        let Info { spec, len_elems, .. } = &self.infos[id.0];
        transfer::check_len(&spec.name, &role.to_string(), *len_elems, values.len() as u64)?;
        transfer::check_usage(&spec.name, role, slice.buffer(), BufferUsages::COPY_DST)?;
        if !(values.len() as u64 * dtype.size_bytes()).is_multiple_of(4) {
            transfer::check_usage(&spec.name, role, slice.buffer(), BufferUsages::COPY_SRC)?;
        }
        let place = (slice.buffer(), slice.offset());
        let master = if role == Role::Param { self.master(id) } else { None };
        if let Some((buffer, offset)) = master {
            if let Some(rest_bytes) = remainder_bytes(spec.precision) {
                let (codes, rests) = remainder::split_all(values, rest_bytes);
                transfer::store_bytes(&self.gpu, (buffer, offset), rests).await?;
                return transfer::store_bytes(&self.gpu, place, codes).await;
            }
            transfer::write(&self.gpu, buffer, offset, values)?;
        }
        transfer::store_bytes(&self.gpu, place, dtype.encode(values)).await
    }
}

/// Where a slot of a tensor lies.
pub(crate) enum SlotPlace<'a> {
    /// In the tiles of the state.
    Tiles(TilesPlace<'a>),
    /// From a byte of a buffer on, as f32.
    Flat { buffer: &'a Buffer, offset: u64 },
}

/// In every tile of a tensor's state.
pub(crate) struct TilesPlace<'a> {
    pub(super) format: StateFormat,
    pub(super) buffer: &'a Buffer,
    /// The tensor's state, all slots of it.
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
    /// Where in it the slot's tiles lie.
    pub(super) tiles: InTiles,
}

impl TilesPlace<'_> {
    /// The tensor's state, all slots of it.
    async fn fetch(&self, gpu: &Gpu) -> Result<Vec<u8>> {
        transfer::fetch_bytes(gpu, self.buffer, self.offset, self.size_bytes).await
    }
}

/// The format of the elements of a state without blocks.
fn dtype_of(format: StateFormat) -> Dtype {
    if format == StateFormat::Bf16 { Dtype::Bf16 } else { Dtype::F32 }
}

/// Bytes of the remainder that is kept beside a parameter, if one is.
fn remainder_bytes(precision: Precision) -> Option<usize> {
    match precision {
        Precision::Remainder => Some(2),
        Precision::Remainder8 => Some(1),
        _ => None,
    }
}
