//! What a caller says about a tensor to quantize.

use std::collections::HashSet;

use wgpu::Buffer;

use crate::{
    BufferRange, Dtype, Error, Result, Role, StateFormat,
    borrowed_buffers::{self, Place},
    layout::TILE_ELEMS,
};

/// A tensor to quantize: name, length, formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// A name that no other tensor of the quantizer has.
    pub name: String,
    /// The number of elements; may be 0.
    pub len_elems: u64,
    /// The format of the values.
    pub dtype: Dtype,
    /// The format of the blocks.
    pub format: StateFormat,
    /// Whether values may be negative. Those of second moments, which are not, have codes of their own
    /// in all formats but bf16 and f32; fp8 differs only in that no value above 0 becomes 0.
    pub signed: bool,
}

impl BlockSpec {
    /// Values in f32 of either sign.
    pub fn new(name: impl Into<String>, len_elems: u64, format: StateFormat) -> Self {
        Self { name: name.into(), len_elems, dtype: Dtype::F32, format, signed: true }
    }

    /// The format of the values.
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Values that are never negative.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }
}

/// Where blocks lie: [`StateFormat::blocks_size_bytes`] from byte `offset` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The buffer; it needs the usage STORAGE.
    pub buffer: Buffer,
    /// The first byte, a multiple of 256.
    pub offset: u64,
}

impl BlockRange {
    /// Blocks in a buffer.
    #[must_use]
    pub fn new(buffer: &Buffer, offset: u64) -> Self {
        Self { buffer: buffer.clone(), offset }
    }
}

/// A tensor to quantize whose values and blocks lie in buffers of the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTensor {
    /// Name, length, formats.
    pub spec: BlockSpec,
    /// Where the values lie.
    pub values: BufferRange,
    /// Where the blocks lie; it may be the same buffer.
    pub blocks: BlockRange,
}

/// The largest offset alignment that WebGPU permits.
const BLOCKS_ALIGNMENT: u64 = 256;

pub(super) fn check_names<'a>(specs: impl Iterator<Item = &'a BlockSpec>) -> Result<()> {
    let mut names = HashSet::new();
    for spec in specs {
        if !names.insert(&spec.name) {
            return Err(Error::DuplicateTensor { name: spec.name.clone() });
        }
    }
    Ok(())
}

/// Bytes of a buffer that a tensor uses.
struct Use<'a> {
    buffer: &'a Buffer,
    /// The first byte, and that of the binding that begins before it.
    start: u64,
    bound: u64,
    end: u64,
    role: Role,
    tensor: &'a str,
}

/// Whether every range fits its tensor and its buffer, and shares no byte with another. Bindings begin at
/// multiples of `alignment`.
pub(super) fn check(tensors: &[BlockTensor], alignment: u64) -> Result<()> {
    let mut uses = Vec::with_capacity(2 * tensors.len());
    for BlockTensor { spec, values, blocks } in tensors {
        // Kernels count the vec4s of blocks in 32 bits.
        let most = (u64::from(u32::MAX) / 64) * TILE_ELEMS;
        if spec.len_elems > most {
            let size_bytes = spec.len_elems.saturating_mul(spec.dtype.size_bytes());
            let max_bytes = most * spec.dtype.size_bytes();
            return Err(Error::TensorTooLarge { tensor: spec.name.clone(), size_bytes, max_bytes });
        }
        borrowed_buffers::check_range(
            &spec.name,
            Role::Values,
            values,
            (spec.len_elems, spec.dtype),
        )?;
        let values_size = (spec.len_elems * spec.dtype.size_bytes()).next_multiple_of(4);
        let size = spec.format.blocks_size_bytes(spec.len_elems);
        let place = Place { offset: blocks.offset, size, alignment: BLOCKS_ALIGNMENT };
        borrowed_buffers::check_place(&spec.name, Role::Blocks, &blocks.buffer, place, u64::MAX)?;
        for (role, buffer, start, size) in [
            (Role::Values, &values.buffer, values.offset, values_size),
            (Role::Blocks, &blocks.buffer, blocks.offset, size),
        ] {
            let (bound, end) = (start / alignment * alignment, start + size);
            if size > 0 {
                uses.push(Use { buffer, start, bound, end, role, tensor: &spec.name });
            }
        }
    }
    check_overlap(uses, alignment)
}

fn check_overlap(mut uses: Vec<Use<'_>>, alignment: u64) -> Result<()> {
    #[allow(clippy::mutable_key_type, reason = "wgpu compares buffers by their identity")]
    let mut numbers = std::collections::HashMap::new();
    for range in &uses {
        let next = numbers.len();
        numbers.entry(range.buffer).or_insert(next);
    }
    uses.sort_by_key(|range| (numbers[range.buffer], range.start));
    // The furthest-reaching values and blocks so far.
    let (mut values, mut blocks): (Option<&Use<'_>>, Option<&Use<'_>>) = (None, None);
    for range in &uses {
        // Values and blocks are bound apart, from a multiple of the alignment on.
        let start =
            |rival: &Use<'_>| if rival.role == range.role { range.start } else { range.bound };
        let collides = |rival: &&Use<'_>| rival.buffer == range.buffer && rival.end > start(rival);
        if let Some(rival) = values.filter(collides).or(blocks.filter(collides)) {
            return Err(Error::BlocksOverlap {
                tensor: range.tensor.to_owned(),
                role: range.role,
                other: rival.tensor.to_owned(),
                other_role: rival.role,
                alignment,
            });
        }
        let best = if range.role == Role::Values { &mut values } else { &mut blocks };
        if best.is_none_or(|best| best.buffer != range.buffer || best.end < range.end) {
            *best = Some(range);
        }
    }
    Ok(())
}
