//! The per-step input: learning rates, factors, which tensors have no gradient, hyperparameters, where tensors
//! lie.

use wgpu::{Buffer, BufferBinding, BufferSize, BufferUsages};

use crate::{
    Error, Gpu, Result,
    abi::{self, StepInput, Total},
    fits::fits,
    kernel::{TableIn, UNIFORM_RUNS_BYTES},
    ring::{ENTRIES, Entry, Ring},
};

/// A ring of entries, one for each step that is recorded or under way, written by one call. Behind them
/// lies what never changes: the places of the beginning.
#[derive(Clone, Debug)]
pub(crate) struct StepInputs {
    buffer: Buffer,
    ring: Ring,
    input_bytes: u32,
    absent_bytes: u32,
    groups_bytes: u32,
    hypers_bytes: u32,
    /// Of sums that are added up outside; 0 if nothing is measured.
    totals_bytes: u32,
    /// Of places that moved, and of those of the beginning.
    places_bytes: u32,
    tensors: usize,
}

/// What a step brings.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) head: StepInput,
    /// The learning rate of each tensor.
    pub(crate) rates: Vec<f32>,
    /// The tensors without gradient.
    pub(crate) absent: Vec<usize>,
}

/// Hyperparameters, as a step brings them.
#[derive(Clone, Debug)]
pub(crate) struct StepConstants {
    pub(crate) clip_value: f32,
    /// Of stochastic rounding.
    pub(crate) seed: u32,
    pub(crate) groups: Vec<abi::Group>,
    /// The constants of all rules: see [`RuleSet`](crate::rule_set::RuleSet).
    pub(crate) hypers: Vec<u8>,
}

/// How much of what an entry holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntrySizes {
    pub(crate) tensors: usize,
    pub(crate) groups: usize,
    pub(crate) hypers_bytes: usize,
    /// Whether sums of the outside have a place.
    pub(crate) has_totals: bool,
}

/// Where a step's input lies: dynamic offsets of the bindings.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) input: u32,
    pub(crate) absent: u32,
    pub(crate) groups: u32,
    pub(crate) hypers: u32,
    /// Where sums of the outside lie.
    pub(crate) totals: u32,
    /// Where [`places`](StepInputs::places) begin.
    pub(crate) places: u32,
    pub(crate) is_monitored: bool,
    pub(crate) entry: Entry,
}

/// The largest offset alignment that WebGPU permits.
const ALIGNMENT: u64 = 256;

impl StepInputs {
    /// Entries with room for `room` bytes of places, or what the device has of it; those of the beginning
    /// are written now.
    pub(crate) fn new(gpu: &Gpu, sizes: EntrySizes, places: &[u8], room: usize) -> Result<Self> {
        let EntrySizes { tensors, groups, hypers_bytes, has_totals } = sizes;
        let aligned = |bytes: usize| (bytes.max(4) as u64).next_multiple_of(ALIGNMENT);
        let input_bytes = aligned(size_of::<StepInput>() + tensors.max(1) * size_of::<f32>());
        let absent_bytes = aligned(tensors.div_ceil(32) * 4);
        let groups_bytes = aligned(groups * size_of::<abi::Group>());
        let hypers_bytes = aligned(hypers_bytes);
        let totals_bytes = if has_totals { aligned(groups * size_of::<Total>()) } else { 0 };
        let limit = gpu.limits().max_buffer_size.min(u32::MAX.into());
        let small = input_bytes + absent_bytes + groups_bytes + hypers_bytes + totals_bytes;
        let fixed = u64::from(ENTRIES) * small;
        let most =
            limit.saturating_sub(fixed + UNIFORM_RUNS_BYTES) / u64::from(ENTRIES + 2) / ALIGNMENT
                * ALIGNMENT;
        let places_bytes = aligned(room).min(most).max(aligned(places.len()));
        let entry = small + places_bytes;
        // A binding of places is as long from any part of them on.
        let behind = (2 * places_bytes).max(places_bytes + UNIFORM_RUNS_BYTES);
        let size = u64::from(ENTRIES) * entry + behind;
        if size > limit {
            return Err(Error::DeviceLimit {
                limit: "max_buffer_size",
                expected: size,
                found: limit,
            });
        }
        let usage = BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let narrow = |bytes: u64| fits(bytes, "all entries together are within 32 bits");
        let buffer = gpu.buffer("fallline step inputs", size, usage)?;
        gpu.write("fallline first places", &buffer, u64::from(ENTRIES) * entry, places)?;
        Ok(Self {
            buffer,
            ring: Ring::new(),
            input_bytes: narrow(input_bytes),
            absent_bytes: narrow(absent_bytes),
            groups_bytes: narrow(groups_bytes),
            hypers_bytes: narrow(hypers_bytes),
            totals_bytes: narrow(totals_bytes),
            places_bytes: narrow(places_bytes),
            tensors,
        })
    }

    /// Bytes of places that an entry has room for.
    pub(crate) fn room(&self) -> usize {
        self.places_bytes as usize
    }

    /// Bytes of an entry.
    pub(crate) fn entry_bytes(&self) -> u32 {
        self.places_begin() + self.places_bytes
    }

    /// Where places begin in an entry.
    fn places_begin(&self) -> u32 {
        self.totals_begin() + self.totals_bytes
    }

    fn totals_begin(&self) -> u32 {
        self.input_bytes + self.absent_bytes + self.groups_bytes + self.hypers_bytes
    }

    /// The buffer of all entries, for what kernels bind of it with offsets of their own.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Where the places of the beginning lie.
    pub(crate) fn first_places(&self) -> u32 {
        ENTRIES * self.entry_bytes()
    }

    /// The bindings of input and mask, both with a dynamic offset.
    pub(crate) fn bindings(&self) -> (wgpu::BindingResource<'_>, wgpu::BindingResource<'_>) {
        (self.binding(self.input_bytes), self.binding(self.absent_bytes))
    }

    /// The binding of groups, with a dynamic offset.
    pub(crate) fn groups(&self) -> wgpu::BindingResource<'_> {
        self.binding(self.groups_bytes)
    }

    /// The binding of sums of the outside, with a dynamic offset.
    pub(crate) fn totals(&self) -> wgpu::BindingResource<'_> {
        self.binding(self.totals_bytes)
    }

    /// The binding of runs, which places begin with: with a dynamic offset.
    pub(crate) fn runs(&self, runs_in: TableIn) -> wgpu::BindingResource<'_> {
        match runs_in {
            TableIn::Uniform => self.binding(fits(UNIFORM_RUNS_BYTES, "64 KiB")),
            TableIn::Storage => self.places(),
        }
    }

    /// The binding of places, with a dynamic offset.
    pub(crate) fn places(&self) -> wgpu::BindingResource<'_> {
        self.binding(self.places_bytes)
    }

    fn binding(&self, size: u32) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(BufferBinding {
            buffer: &self.buffer,
            offset: 0,
            size: BufferSize::new(size.into()),
        })
    }

    /// Writes a step's input into a free entry, with places if tensors moved.
    pub(crate) fn write(
        &self,
        gpu: &Gpu,
        input: &Input,
        constants: &StepConstants,
        places: &[u8],
    ) -> Result<Written> {
        let written = self.take(gpu, !places.is_empty(), input.head.monitored != 0)?;
        let bytes = self.bytes(input, constants, places);
        gpu.write("step", &self.buffer, written.input.into(), &bytes)?;
        Ok(written)
    }

    /// A free entry, into which nothing is written yet.
    pub(crate) fn take(&self, gpu: &Gpu, has_places: bool, is_monitored: bool) -> Result<Written> {
        let entry = self.ring.take(gpu)?;
        let at = entry.number * self.entry_bytes();
        let absent = at + self.input_bytes;
        let groups = absent + self.absent_bytes;
        let moved = at + self.places_begin();
        Ok(Written {
            input: at,
            absent,
            groups,
            hypers: groups + self.groups_bytes,
            totals: at + self.totals_begin(),
            places: if has_places { moved } else { self.first_places() },
            is_monitored,
            entry,
        })
    }

    /// A step's input, as an entry holds it.
    pub(crate) fn bytes(&self, input: &Input, constants: &StepConstants, places: &[u8]) -> Vec<u8> {
        let groups = (self.input_bytes + self.absent_bytes) as usize;
        let hypers = groups + self.groups_bytes as usize;
        // No more than is written: an entry has room for places that most steps do not bring.
        let len = hypers + constants.hypers.len();
        let moved = self.places_begin() as usize;
        let len = if places.is_empty() { len } else { moved + places.len() };
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(bytemuck::bytes_of(&input.head));
        bytes.extend_from_slice(bytemuck::cast_slice(&input.rates));
        bytes.resize(self.input_bytes as usize, 0);
        let mut mask = vec![0u32; self.tensors.div_ceil(32)];
        for &tensor in &input.absent {
            mask[tensor / 32] |= 1 << (tensor % 32);
        }
        bytes.extend_from_slice(bytemuck::cast_slice(&mask));
        bytes.resize(groups, 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&constants.groups));
        bytes.resize(hypers, 0);
        bytes.extend_from_slice(&constants.hypers);
        if !places.is_empty() {
            bytes.resize(moved, 0);
            bytes.extend_from_slice(places);
        }
        bytes
    }

    /// Writes sums of the outside into the entry of a step that is not submitted.
    pub(crate) fn write_totals(
        &self,
        gpu: &Gpu,
        written: &Written,
        totals: &[Total],
    ) -> Result<()> {
        gpu.write("sums", &self.buffer, written.totals.into(), totals)
    }
}
