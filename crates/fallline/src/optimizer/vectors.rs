//! State that does not lie in tiles: a value for each row or column, f32, of all tensors in one buffer.

use std::ops::Range;

use wgpu::{Buffer, CommandEncoder};

use super::Info;
use crate::{Error, Gpu, Group, Result, Slot, SlotShape, transfer::OWNED};

/// Where the rows and columns of all tensors lie.
#[derive(Debug)]
pub(crate) struct Vectors {
    /// `None` if no rule keeps any.
    buffer: Option<Buffer>,
    /// For each tensor the bytes of each of its slots; `None` for a slot that lies elsewhere.
    places: Vec<Vec<Option<Range<u64>>>>,
}

/// A slot begins at a multiple of a vec4.
const ALIGNMENT: u64 = 16;

impl Vectors {
    pub(super) fn new(gpu: &Gpu, groups: &[Group], infos: &[Info]) -> Result<Self> {
        let mut size = 0;
        let mut places = Vec::with_capacity(infos.len());
        for info in infos {
            let place = |slot: Slot| {
                is_vector(slot).then(|| {
                    let first = size;
                    let end = first + 4 * len_elems(slot, info);
                    size = end.next_multiple_of(ALIGNMENT);
                    first..end
                })
            };
            places.push(groups[info.group].rule.slots().into_iter().map(place).collect());
        }
        let limit = gpu.limits().max_storage_buffer_binding_size;
        if size > limit {
            let limit_name = "max_storage_buffer_binding_size";
            return Err(Error::DeviceLimit { limit: limit_name, expected: size, found: limit });
        }
        let buffer = match size {
            0 => None,
            size => Some(gpu.buffer("fallline rows and columns", size, OWNED)?),
        };
        Ok(Self { buffer, places })
    }

    /// Where slot `number` of a tensor lies, if it lies here.
    pub(super) fn place(&self, tensor: usize, number: usize) -> Option<(&Buffer, u64)> {
        Some((self.buffer.as_ref()?, self.places[tensor][number].as_ref()?.start))
    }

    /// Copies what tensors keep that are the same in both.
    pub(super) fn copy_kept(&self, into: &Self, encoder: &mut CommandEncoder) {
        let (Some(from), Some(to)) = (&self.buffer, &into.buffer) else { return };
        // Tensors keep their numbers; those that left have slots without elements.
        let slots = self.places.iter().zip(&into.places).flat_map(|(old, new)| old.iter().zip(new));
        for (old, new) in slots.filter_map(|(old, new)| old.as_ref().zip(new.as_ref())) {
            let len = old.end - old.start;
            if len == new.end - new.start && len > 0 {
                encoder.copy_buffer_to_buffer(from, old.start, to, new.start, len);
            }
        }
    }

    /// Bytes of all.
    pub(super) fn size_bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, Buffer::size)
    }
}

/// Elements of a slot.
pub(crate) fn len_elems(slot: Slot, info: &Info) -> u64 {
    // No more than the tensor has, which are counted.
    slot.dims(&info.spec.shape).iter().map(|dim| *dim as u64).product()
}

fn is_vector(slot: Slot) -> bool {
    matches!(slot.shape, SlotShape::Rows | SlotShape::Columns)
}
