//! Checks what a caller lends, and numbers its buffers.

use wgpu::{Buffer, BufferUsages};

use crate::{
    BorrowedTensor, BufferRange, Dtype, Error, Result, Role, TensorSpec, chunks::Lent, transfer,
};

/// The distinct buffers among those lent, and for each tensor where parameter and gradient lie.
#[derive(Debug)]
pub(crate) struct Lending {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) ranges: Vec<(Lent, Lent)>,
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
    #[allow(clippy::mutable_key_type, reason = "wgpu compares buffers by their identity")]
    pub(crate) fn new(tensors: &[BorrowedTensor]) -> Result<Self> {
        let mut buffers: Vec<Buffer> = Vec::new();
        let mut numbers = std::collections::HashMap::new();
        let mut ranges = Vec::with_capacity(tensors.len());
        let mut uses = Vec::new();
        for tensor in tensors {
            let name = &tensor.spec.name;
            let len_elems = tensor.spec.len_elems()?;
            let mut lend = |range: &BufferRange, role: Role, dtype: Dtype| {
                check_range(name, role, range, (len_elems, dtype))?;
                let buffer = *numbers.entry(range.buffer.clone()).or_insert_with(|| {
                    buffers.push(range.buffer.clone());
                    buffers.len() - 1
                });
                if len_elems > 0 {
                    let end = range.offset + len_elems * dtype.size_bytes();
                    uses.push(Use { buffer, start: range.offset, end, role, tensor: name });
                }
                Ok(Lent { buffer, offset: range.offset, elem_bytes: dtype.size_bytes() })
            };
            let TensorSpec { dtype, grad_dtype, .. } = tensor.spec;
            let param = lend(&tensor.param, Role::Param, dtype)?;
            ranges.push((param, lend(&tensor.grad, Role::Grad, grad_dtype)?));
        }
        let shared_grads = check_overlap(uses)?;
        Ok(Self { buffers, ranges, shared_grads })
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

/// Whether these bytes can be bound, of a buffer of which so many can be reached.
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
/// Tells two that do.
fn check_overlap(mut uses: Vec<Use<'_>>) -> Result<Option<(String, String)>> {
    uses.sort_by_key(|range| (range.buffer, range.start));
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
