//! State that does not lie in tiles: what a rule keeps of the rows and columns of matrices, f32, of all
//! tensors in one buffer.

use std::ops::{Range, RangeInclusive};

use wgpu::{Buffer, BufferUsages, CommandEncoder};

use crate::{
    Error, Gpu, Result, Slot, SlotShape, TensorSpec, abi::Matrices, fits::fits, kernel::SUM_BYTES,
    limits, slot,
};

/// Rows of a block, and columns of a chunk: `control/margins.wgsl`.
pub(crate) const BLOCK_ROWS: u64 = 64;
pub(crate) const CHUNK_COLUMNS: u64 = 256;

/// Matrices that are tiny there have rows that are at most so long, and at most so many.
const TINY_COLUMNS: u32 = 32;
pub(crate) const TINY_ROWS: u32 = 16;

/// The columns that sums see of a block, if so many divide it; and the most of blocks that are rows whole.
const BLOCK_COLUMNS: RangeInclusive<u64> = 64..=CHUNK_COLUMNS;
const ROW_COLUMNS: u64 = 1024;

/// Rows of a workgroup of `control/vectors.wgsl`, of at most so many parts and of others; and its columns, of matrices of
/// at most so many blocks and of others.
const WORKGROUP_ROWS: [u64; 2] = [64, 1];
pub(crate) const LARGE_PARTS: u64 = 64;
const WORKGROUP_COLUMNS: [u64; 2] = [64, 16];
pub(crate) const LARGE_BLOCKS: u64 = 4;

/// Vec4s of a row that a lane of `control/margins.wgsl` sums, of eight lanes; 0: the matrix is tiny.
pub(crate) fn lane_vec4s(shape: &Matrices) -> u8 {
    if shape.columns <= TINY_COLUMNS && shape.rows <= TINY_ROWS {
        return 0;
    }
    fits(shape.columns.div_ceil(32).next_power_of_two().min(8), "at most 8")
}

/// The rows and columns of all tensors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vectors {
    /// `None` if no rule keeps any.
    pub(crate) memory: Option<VectorMemory>,
    /// For each tensor the bytes of each of its slots; `None` for a slot that lies elsewhere.
    places: Vec<Vec<Option<Range<u64>>>>,
}

/// Where they lie, and what is needed to keep them.
#[derive(Clone, Debug)]
pub(crate) struct VectorMemory {
    /// Of each tensor its `Matrices`, then the sums of tiles, then rows and columns: one binding for elements.
    pub(crate) buffer: Buffer,
    /// The first of these again, as sums see them, for kernels that write the last.
    pub(crate) matrices: Buffer,
    pub(crate) shapes: Vec<Matrices>,
    /// What is summed over parts of rows and columns.
    pub(crate) parts: Buffer,
    /// Where the sums of tiles begin.
    pub(crate) sums_at: u64,
    /// Workgroups of `control/vectors.wgsl` and `control/means.wgsl`, and the tensor of each.
    pub(crate) workgroups: [u64; 2],
    pub(crate) owners: [Buffer; 2],
}

/// A tensor, and what it needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factored<'a> {
    pub(crate) spec: &'a TensorSpec,
    pub(crate) slots: &'a [Slot],
    pub(crate) len_elems: u64,
    /// The sums of its first tile, among those of all tiles.
    pub(crate) first_sum: u64,
}

/// A slot begins at a multiple of a vec4.
const ALIGNMENT: u64 = 16;

impl Vectors {
    /// For tensors whose tile sums take this many bytes together.
    pub(crate) fn new(gpu: &Gpu, tensors: &[Factored<'_>], sums_bytes: u64) -> Result<Self> {
        if !tensors.iter().any(|tensor| tensor.slots.iter().any(|slot| slot.is_vector())) {
            return Ok(Self { memory: None, places: vec![Vec::new(); tensors.len()] });
        }
        let limit = limits::max_binding_bytes(gpu.limits());
        let sums_at = (size_of::<Matrices>() as u64 * tensors.len() as u64).next_multiple_of(256);
        let mut end = sums_at + sums_bytes;
        let mut counts = Counts::default();
        let (mut places, mut shapes) = (Vec::new(), Vec::new());
        for tensor in tensors {
            let mut take = |len_elems: u64| {
                let first = end;
                end = (first + 4 * len_elems).next_multiple_of(ALIGNMENT);
                first..first + 4 * len_elems
            };
            let mut shape = counts.shape(tensor)?;
            let first_sum = sums_at / SUM_BYTES + tensor.first_sum;
            let has_any = tensor.slots.iter().any(|slot| slot.is_vector());
            let mut of_tensor = Vec::new();
            if has_any {
                let len = |is: fn(&Slot) -> bool| {
                    let slot = tensor.slots.iter().copied().find(is);
                    slot.map(|slot| slot.len_elems(tensor.spec))
                };
                // Of a rule that keeps columns only, rows are of no use. (Without elements there may be either.)
                let rows = len(|slot| slot.is_vector() && !is_columns(slot));
                let rows_at = take(rows.unwrap_or(shape.rows_total.into()));
                let columns_at = take(len(is_columns).unwrap_or(0));
                shape.rows_at = elem(rows_at.start, limit)?;
                // Of blocks elements see what is kept.
                shape.factors_at = match slot::blocks_of(tensor.slots) {
                    Some(_) => shape.rows_at,
                    None => elem(take(shape.rows_total.into()).start, limit)?,
                };
                shape.columns_at = elem(columns_at.start, limit)?;
                shape.first_sum = elem(4 * first_sum, limit)?;
                of_tensor.extend(tensor.slots.iter().map(|slot| match slot.shape {
                    SlotShape::Rows | SlotShape::Blocks(_) => Some(rows_at.clone()),
                    SlotShape::Columns => Some(columns_at.clone()),
                    _ => None,
                }));
            }
            places.push(of_tensor);
            shapes.push(shape);
        }
        let parts_bytes = 4 * counts.parts;
        for size in [end, parts_bytes] {
            if size > limit {
                let limit_name = "max_storage_buffer_binding_size";
                return Err(Error::DeviceLimit { limit: limit_name, expected: size, found: limit });
            }
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let buffer = gpu.buffer("fallline rows and columns", end, usage)?;
        let for_elements: Vec<Matrices> = shapes.iter().map(for_elements).collect();
        gpu.write("fallline rows and columns", &buffer, 0, &for_elements)?;
        let owners = |owners: &[u32]| gpu.filled("fallline owners", BufferUsages::STORAGE, owners);
        let owners = [owners(&counts.owners[0])?, owners(&counts.owners[1])?];
        let memory = VectorMemory {
            matrices: gpu.filled("fallline matrices", BufferUsages::STORAGE, &shapes)?,
            parts: gpu.buffer("fallline margins", parts_bytes.max(4), BufferUsages::STORAGE)?,
            buffer,
            shapes,
            sums_at,
            workgroups: counts.owners.each_ref().map(|owners| owners.len() as u64),
            owners,
        };
        Ok(Self { memory: Some(memory), places })
    }

    /// Where slot `number` of a tensor lies, if it lies here.
    pub(crate) fn place(&self, tensor: usize, number: usize) -> Option<(&Buffer, u64)> {
        let place = self.places[tensor].get(number)?.as_ref()?;
        Some((&self.memory.as_ref()?.buffer, place.start))
    }

    /// Copies what tensors keep that are the same in both.
    pub(crate) fn copy_kept(&self, into: &Self, encoder: &mut CommandEncoder) {
        let (Some(from), Some(to)) = (&self.memory, &into.memory) else { return };
        // Tensors keep their numbers; those that left have slots without elements.
        let slots = self.places.iter().zip(&into.places).flat_map(|(old, new)| old.iter().zip(new));
        for (old, new) in slots.filter_map(|(old, new)| old.as_ref().zip(new.as_ref())) {
            let len = old.end - old.start;
            if len == new.end - new.start && len > 0 {
                encoder.copy_buffer_to_buffer(&from.buffer, old.start, &to.buffer, new.start, len);
            }
        }
    }

    /// Bytes of all slots.
    pub(crate) fn size_bytes(&self) -> u64 {
        let slots = self.places.iter().flatten().flatten();
        slots.map(|place| place.end - place.start).sum()
    }
}

/// What tensors before one need.
#[derive(Debug, Default)]
struct Counts {
    parts: u64,
    tensors: u32,
    /// The tensor of each workgroup of *vectors*, and of *means*.
    owners: [Vec<u32>; 2],
}

impl Counts {
    /// A tensor as matrices, where it has vectors; what is behind it otherwise.
    fn shape(&mut self, tensor: &Factored<'_>) -> Result<Matrices> {
        let Factored { spec, slots, len_elems, .. } = *tensor;
        let has_any = slots.iter().any(|slot| slot.is_vector()) && len_elems > 0;
        let in_blocks = slot::blocks_of(slots).map(|blocks| blocks as u64);
        let (rows, columns) = match (in_blocks, &spec.shape[..]) {
            _ if !has_any => (0, 0),
            (Some(blocks), _) => {
                let columns = columns_of_block(len_elems / blocks);
                // A long one that cannot be cut into rows is a matrix of one, within which pieces may end.
                (if columns <= ROW_COLUMNS { len_elems / columns } else { 1 }, columns)
            }
            (None, &[.., rows, columns]) => (rows as u64, columns as u64),
            (None, &[columns]) => (1, columns as u64),
            (None, []) => (1, 1),
        };
        let matrices = len_elems.checked_div(rows * columns).unwrap_or(0);
        let (blocks, chunks) = (rows.div_ceil(BLOCK_ROWS), columns.div_ceil(CHUNK_COLUMNS));
        let rows_per_value = match in_blocks {
            Some(blocks) if has_any => matrices * rows / blocks,
            _ => 1,
        };
        let rows_total = matrices * rows / rows_per_value;
        let columns_total = if slots.iter().any(is_columns) { matrices * columns } else { 0 };
        let row_parts = self.parts;
        let column_parts = row_parts + matrices * rows * chunks;
        let [first_vectors, first_means] = self.owners.each_ref().map(|owners| owners.len() as u64);
        self.parts = column_parts + columns_total * blocks;
        let workgroup_rows = WORKGROUP_ROWS[usize::from(rows_per_value * chunks > LARGE_PARTS)];
        let workgroup_columns = WORKGROUP_COLUMNS[usize::from(blocks > LARGE_BLOCKS)];
        let vectors =
            rows_total.div_ceil(workgroup_rows) + columns_total.div_ceil(workgroup_columns);
        let means = match in_blocks {
            Some(_) => 0,
            None if rows <= TINY_ROWS.into() => matrices.div_ceil(64),
            None => matrices,
        };
        // Kernels count a tensor's elements, and all parts, in 32 bits.
        let most = u64::from(u32::MAX);
        if len_elems > most && has_any {
            let (tensor, size_bytes) = (spec.name.clone(), len_elems.saturating_mul(4));
            return Err(Error::TensorTooLarge { tensor, size_bytes, max_bytes: 4 * most });
        }
        for (owners, more) in self.owners.iter_mut().zip([vectors, means]) {
            let more: usize = fits(more, "no more than elements, which are counted in 32 bits");
            owners.resize(owners.len() + more, self.tensors);
        }
        self.tensors += 1;
        let number = |value: u64| elem(4 * value, 4 * most);
        Ok(Matrices {
            rows: number(rows)?,
            columns: number(columns)?,
            rows_total: number(rows_total)?,
            blocks: number(blocks)?,
            chunks: number(chunks)?,
            row_parts: number(row_parts)?,
            column_parts: number(column_parts)?,
            first_vectors: number(first_vectors)?,
            first_means: number(first_means)?,
            matrices: number(matrices)?,
            rows_per_value: number(rows_per_value)?,
            ..Matrices::default()
        })
    }
}

/// The element at a byte of a binding.
fn elem(byte: u64, limit: u64) -> Result<u32> {
    u32::try_from(byte / 4).map_err(|_| Error::DeviceLimit {
        limit: "max_storage_buffer_binding_size",
        expected: byte,
        found: limit,
    })
}

/// The columns that sums see of a block of this length: so many elements lie one behind the other, and may be cut into any
/// equal rows, which are whole vec4s if the block is.
fn columns_of_block(len: u64) -> u64 {
    if len <= CHUNK_COLUMNS {
        return len;
    }
    let step = if len.is_multiple_of(4) { 4 } else { 1 };
    let fits = |columns: &u64| columns.is_multiple_of(step) && len.is_multiple_of(*columns);
    BLOCK_COLUMNS.rev().find(fits).unwrap_or(len)
}

/// Of blocks elements see one row each.
fn for_elements(shape: &Matrices) -> Matrices {
    let (rows, columns) =
        (shape.rows / shape.rows_per_value.max(1), shape.columns * shape.rows_per_value);
    Matrices { rows, columns, ..*shape }
}

fn is_columns(slot: &Slot) -> bool {
    slot.shape == SlotShape::Columns
}
