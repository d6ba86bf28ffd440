//! The per-step input: learning rates, and which tensors have no gradient.
//!
//! `Queue::write_buffer` takes effect before the next submission, not where the encoder stands. So
//! that several steps with different learning rates can be recorded before any is submitted, each
//! gets a slot of its own in one buffer, bound by a dynamic offset; a slot is used again when the GPU
//! is done with its step, or when the encoder that holds the step is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{Buffer, BufferBinding, BufferSize, BufferUsages};

use crate::{Error, Gpu, Result, abi::GroupStep};

/// Steps that may be recorded or under way at once.
const SLOTS: u32 = 64;

/// The slots and which of them are free.
#[derive(Clone, Debug)]
pub(crate) struct StepInputs {
    buffer: Buffer,
    rates_bytes: u32,
    absent_bytes: u32,
    free: Arc<Mutex<Vec<u32>>>,
    tensors: usize,
}

/// A slot in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    slot: u32,
    free: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

impl StepInputs {
    pub(crate) fn new(gpu: &Gpu, groups: usize, tensors: usize) -> Result<Self> {
        let alignment = u64::from(gpu.limits().min_storage_buffer_offset_alignment.max(16));
        let rates = (groups * size_of::<GroupStep>()) as u64;
        let rates_bytes = rates.next_multiple_of(alignment);
        let absent_bytes = (tensors.div_ceil(32).max(1) as u64 * 4).next_multiple_of(alignment);
        // Behind the slots lies one mask that stays zero, for steps in which no gradient is absent.
        let size = u64::from(SLOTS) * (rates_bytes + absent_bytes) + absent_bytes;
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
            rates_bytes: narrow(rates_bytes),
            absent_bytes: narrow(absent_bytes),
            free: Arc::new(Mutex::new((0..SLOTS).rev().collect())),
            tensors,
        })
    }

    /// The bindings of learning rates and mask, both with a dynamic offset.
    pub(crate) fn bindings(&self) -> (wgpu::BindingResource<'_>, wgpu::BindingResource<'_>) {
        let at = |size: u32| {
            wgpu::BindingResource::Buffer(BufferBinding {
                buffer: &self.buffer,
                offset: 0,
                size: BufferSize::new(size.into()),
            })
        };
        (at(self.rates_bytes), at(self.absent_bytes))
    }

    /// Writes a step's input into a free slot and returns its dynamic offsets.
    pub(crate) fn write(
        &self,
        gpu: &Gpu,
        group_steps: &[GroupStep],
        absent: &[usize],
    ) -> Result<([u32; 2], Lease)> {
        let lease = self.lease(gpu)?;
        let masks = SLOTS * self.rates_bytes;
        let rates_at = lease.slot * self.rates_bytes;
        gpu.write("step", &self.buffer, rates_at.into(), group_steps)?;
        if absent.is_empty() {
            return Ok(([rates_at, masks + SLOTS * self.absent_bytes], lease));
        }
        let mut mask = vec![0u32; self.tensors.div_ceil(32)];
        for &tensor in absent {
            mask[tensor / 32] |= 1 << (tensor % 32);
        }
        let mask_at = masks + lease.slot * self.absent_bytes;
        gpu.write("step", &self.buffer, mask_at.into(), &mask)?;
        Ok(([rates_at, mask_at], lease))
    }

    /// A free slot; waits for the GPU only if all are under way.
    fn lease(&self, gpu: &Gpu) -> Result<Lease> {
        for poll in [None, Some(wgpu::PollType::Poll), Some(wgpu::PollType::wait_indefinitely())] {
            if let Some(poll) = poll {
                // What matters is whether a slot came back, which is looked at next.
                drop(gpu.device().poll(poll));
            }
            let slot = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(slot) = slot {
                return Ok(Lease { slot, free: Arc::clone(&self.free) });
            }
        }
        gpu.check_lost()?;
        Err(Error::TooManyUnsubmittedSteps { limit: SLOTS as usize })
    }
}
