//! The per-step input: learning rates, factors, and which tensors have no gradient.

use wgpu::{Buffer, BufferBinding, BufferSize, BufferUsages};

use crate::{
    Error, Gpu, Result,
    abi::{GroupStep, StepInput},
    lease::{Lease, SLOTS, Slots},
};

/// A slot for each step that is recorded or under way.
#[derive(Clone, Debug)]
pub(crate) struct StepInputs {
    buffer: Buffer,
    slots: Slots,
    input_bytes: u32,
    absent_bytes: u32,
    tensors: usize,
}

/// What a step brings.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) head: StepInput,
    pub(crate) groups: Vec<GroupStep>,
    /// The tensors without gradient.
    pub(crate) absent: Vec<usize>,
}

/// Where a step's input lies: the dynamic offsets of [`StepInputs::bindings`].
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) input: u32,
    pub(crate) absent: u32,
    pub(crate) lease: Lease,
}

impl StepInputs {
    pub(crate) fn new(gpu: &Gpu, groups: usize, tensors: usize) -> Result<Self> {
        let alignment = u64::from(gpu.limits().min_storage_buffer_offset_alignment.max(16));
        let input = (size_of::<StepInput>() + groups * size_of::<GroupStep>()) as u64;
        let input_bytes = input.next_multiple_of(alignment);
        let absent_bytes = (tensors.div_ceil(32).max(1) as u64 * 4).next_multiple_of(alignment);
        // Behind the slots lies one mask that stays zero, for steps in which no gradient is absent.
        let size = u64::from(SLOTS) * (input_bytes + absent_bytes) + absent_bytes;
        let limit = gpu.limits().max_buffer_size.min(u32::MAX.into());
        if size > limit {
            return Err(Error::DeviceLimit {
                limit: "max_buffer_size",
                expected: size,
                found: limit,
            });
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Ok(Self {
            buffer: gpu.buffer("fallline step inputs", size, usage)?,
            slots: Slots::new(),
            input_bytes: narrow(input_bytes),
            absent_bytes: narrow(absent_bytes),
            tensors,
        })
    }

    /// The bindings of input and mask, both with a dynamic offset.
    pub(crate) fn bindings(&self) -> (wgpu::BindingResource<'_>, wgpu::BindingResource<'_>) {
        let at = |size: u32| {
            wgpu::BindingResource::Buffer(BufferBinding {
                buffer: &self.buffer,
                offset: 0,
                size: BufferSize::new(size.into()),
            })
        };
        (at(self.input_bytes), at(self.absent_bytes))
    }

    /// Writes a step's input into a free slot.
    pub(crate) fn write(&self, gpu: &Gpu, input: &Input) -> Result<Written> {
        let lease = self.slots.lease(gpu)?;
        let at = lease.slot * self.input_bytes;
        let head: &[u8] = bytemuck::bytes_of(&input.head);
        let bytes = [head, bytemuck::cast_slice(&input.groups)].concat();
        gpu.write("step", &self.buffer, at.into(), &bytes)?;
        let masks = SLOTS * self.input_bytes;
        if input.absent.is_empty() {
            return Ok(Written { input: at, absent: masks + SLOTS * self.absent_bytes, lease });
        }
        let mut mask = vec![0u32; self.tensors.div_ceil(32)];
        for &tensor in &input.absent {
            mask[tensor / 32] |= 1 << (tensor % 32);
        }
        let absent = masks + lease.slot * self.absent_bytes;
        gpu.write("step", &self.buffer, absent.into(), &mask)?;
        Ok(Written { input: at, absent, lease })
    }
}
