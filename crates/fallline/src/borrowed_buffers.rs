//! Checks what a caller lends, and numbers its buffers.

use std::collections::HashMap;

use wgpu::{Buffer, BufferUsages};

use crate::{
    BufferRange, Dtype, Error, Result, Role,
    tiles::{Lent, LentTensor},
    transfer,
};

/// The buffers that were lent, numbered for as long as steps use them.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    #[allow(clippy::mutable_key_type, reason = "wgpu compares buffers by their identity")]
    numbers: HashMap<Buffer, usize>,
    /// By number: the buffer and the last step that used it; `None` if the number is free.
    used: Vec<Option<(Buffer, u64)>>,
    /// By number.
    pub(crate) sizes: Vec<u64>,
    last: usize,
}

impl Buffers {
    /// The number of a buffer that the step of this number uses.
    pub(crate) fn number(&mut self, buffer: &Buffer, step: u64) -> usize {
        let is_last = self.used.get(self.last).is_some_and(|known| {
            known.as_ref().is_some_and(|(known, used)| known == buffer && *used == step)
        });
        if is_last {
            return self.last;
        }
        let free = || self.used.iter().position(Option::is_none).unwrap_or(self.used.len());
        let number = self.numbers.get(buffer).copied().unwrap_or_else(free);
        if number == self.used.len() {
            self.used.push(None);
            self.sizes.push(0);
        }
        if self.used[number].is_none() {
            self.numbers.insert(buffer.clone(), number);
        }
        self.used[number] = Some((buffer.clone(), step));
        self.sizes[number] = buffer.size();
        self.last = number;
        number
    }

    /// Says that the step of this number uses the buffer.
    pub(crate) fn touch(&mut self, number: usize, step: u64) {
        if let Some(Some((_, used))) = self.used.get_mut(number) {
            *used = step;
        }
    }

    /// The buffer of a number that is in use.
    pub(crate) fn get(&self, number: usize) -> Option<&Buffer> {
        self.used.get(number)?.as_ref().map(|(buffer, _)| buffer)
    }

    /// Forgets what no step since this one used.
    pub(crate) fn expire(&mut self, oldest: u64) {
        for slot in &mut self.used {
            if let Some((buffer, _)) = slot.take_if(|(_, used)| *used < oldest) {
                self.numbers.remove(&buffer);
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// A tensor to lend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToLend<'a> {
    pub(crate) name: &'a str,
    pub(crate) len_elems: u64,
    pub(crate) dtype: Dtype,
    pub(crate) grad_dtype: Dtype,
    pub(crate) param: &'a BufferRange,
    pub(crate) grad: Option<&'a BufferRange>,
}

/// For each tensor where parameter and gradient lie.
#[derive(Debug)]
pub(crate) struct Lending {
    pub(crate) tensors: Vec<LentTensor>,
    /// Two tensors whose gradients share bytes, if there are any.
    pub(crate) shared_grads: Option<(String, String)>,
}

/// A range of bytes that a tensor uses.
struct Use<'a> {
    buffer: usize,
    start: u64,
    end: u64,
    role: Role,
    tensor: &'a str,
}

impl Lending {
    pub(crate) fn new<'a>(
        to_lend: impl ExactSizeIterator<Item = ToLend<'a>>,
        buffers: &mut Buffers,
        step: u64,
    ) -> Result<Self> {
        let mut tensors = Vec::with_capacity(to_lend.len());
        let mut uses = Vec::with_capacity(2 * to_lend.len());
        for ToLend { name, len_elems, dtype, grad_dtype, param, grad } in to_lend {
            let mut lend = |range: &BufferRange, role: Role, dtype: Dtype| {
                check_range(name, role, range, (len_elems, dtype))?;
                let buffer = buffers.number(&range.buffer, step);
                if len_elems > 0 {
                    let end = range.offset + len_elems * dtype.size_bytes();
                    uses.push(Use { buffer, start: range.offset, end, role, tensor: name });
                }
                Ok(Lent { buffer, offset: range.offset })
            };
            let param = lend(param, Role::Param, dtype)?;
            let grad = grad.map(|grad| lend(grad, Role::Grad, grad_dtype)).transpose()?;
            tensors.push(LentTensor { param, grad });
        }
        let shared_grads = check_overlap(uses)?;
        Ok(Self { tensors, shared_grads })
    }
}

/// Whether a range has the tensor's length, and its buffer room for it.
pub(crate) fn check_range(
    tensor: &str,
    role: Role,
    range: &BufferRange,
    (expected, dtype): (u64, Dtype),
) -> Result<()> {
    transfer::check_len(tensor, &role.to_string(), expected, range.len_elems)?;
    // A binding's size is a multiple of four.
    let size = (expected * dtype.size_bytes()).next_multiple_of(4);
    let place = Place { offset: range.offset, size, alignment: dtype.vec4_bytes() };
    // Kernels count vec4s of a buffer in 32 bits.
    check_place(tensor, role, &range.buffer, place, dtype.vec4_bytes() << 32)
}

/// Bytes of a buffer.
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// What the offset must be a multiple of.
    pub(crate) alignment: u64,
}

/// Whether these bytes can be bound, of a buffer whose first `reachable` bytes can be reached.
pub(crate) fn check_place(
    tensor: &str,
    role: Role,
    buffer: &Buffer,
    place: Place,
    reachable: u64,
) -> Result<()> {
    transfer::check_usage(tensor, role, buffer, BufferUsages::STORAGE)?;
    let (tensor, Place { offset, size, alignment: expected }) = (tensor.to_owned(), place);
    if !offset.is_multiple_of(expected) {
        return Err(Error::MisalignedOffset { tensor, role, offset, expected });
    }
    let (end, size_bytes) = (offset.saturating_add(size), buffer.size());
    if end > size_bytes.min(reachable) {
        return Err(Error::BufferTooSmall { tensor, role, offset, end, size_bytes });
    }
    Ok(())
}

/// Parameters are written, so nothing may share a byte with one; gradients may share with another.
/// Gives two that do.
fn check_overlap(mut uses: Vec<Use<'_>>) -> Result<Option<(String, String)>> {
    uses.sort_unstable_by_key(|range| (range.buffer, range.start));
    // The furthest-reaching range so far, of all and of the parameters only.
    let (mut any, mut param): (Option<&Use<'_>>, Option<&Use<'_>>) = (None, None);
    let mut shared = None;
    for range in &uses {
        let rival = if range.role == Role::Param { any } else { param };
        if let Some(rival) = rival.filter(|r| r.buffer == range.buffer && r.end > range.start) {
            let (written, other) =
                if range.role == Role::Param { (range, rival) } else { (rival, range) };
            return Err(Error::Overlap {
                tensor: written.tensor.to_owned(),
                role: other.role,
                other: other.tensor.to_owned(),
            });
        }
        // No parameter overlaps here, so what does is a gradient.
        if let Some(rival) = any.filter(|r| r.buffer == range.buffer && r.end > range.start) {
            shared.get_or_insert_with(|| (rival.tensor.to_owned(), range.tensor.to_owned()));
        }
        let further = |best: Option<&Use<'_>>| {
            best.is_none_or(|best| best.buffer != range.buffer || best.end < range.end)
        };
        if further(any) {
            any = Some(range);
        }
        if range.role == Role::Param && further(param) {
            param = Some(range);
        }
    }
    Ok(shared)
}
