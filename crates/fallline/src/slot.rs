//! What a rule keeps beside a parameter.

use crate::{Error, Group, Result, StateFormat, TensorSpec, fits::fits};

/// Slots of a parameter's shape that a rule can keep: `Slots` of `structs/slots.wgsl`.
pub(crate) const MAX_SLOTS: usize = 8;

/// Scalars that a rule can keep for each tensor, and in common: a vec4 each of its WGSL's `Kept`.
pub(crate) const MAX_KEPT: usize = 4;

/// One of the things that a rule keeps for each tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Slot {
    /// torch's name of it.
    pub name: &'static str,
    /// Whether it may be negative: second moments are not, and have codes of their own.
    pub signed: bool,
    /// What it is, and so how it is kept.
    pub kind: SlotKind,
    /// What it has a value for.
    pub shape: SlotShape,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SlotKind {
    /// An average of gradients or of their powers: kept in the state format of its group.
    Moment,
    /// A copy or an average of the parameter, or a sum: kept in f32, since what is rounded away would be
    /// missed for good.
    Exact,
}

/// What a slot has a value for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum SlotShape {
    /// Each element of the parameter.
    #[default]
    Param,
    /// Each row of each matrix that the last two dimensions make: `[.., r, 1]` of a parameter `[.., r, c]`.
    /// Always f32. A parameter of one dimension is one row, as one without any.
    Rows,
    /// Each column of each of these matrices: `[.., 1, c]`. Always f32.
    Columns,
    /// Each of so many blocks, equal parts of the first dimension: 1 is the tensor, as many as there are rows are its
    /// rows, a number of heads its heads. Always f32, of shape `[n]`. A block is a row of the matrix that they make: the
    /// rule's WGSL keeps it by `keep_row`, and elements see it in `slots.row` as it is kept. A rule has these, or rows
    /// and columns.
    Blocks(usize),
    /// The tensor: shape `[]`, always f32. A rule may have up to four.
    Scalar,
    /// All tensors that the rule's sums go over ([`Scope`](crate::Scope)): shape `[]`, always f32. A rule may have
    /// up to four. Each tensor reads, and saves, the same.
    Joint,
}

impl Slot {
    /// A moment of either sign.
    #[must_use]
    pub const fn moment(name: &'static str) -> Self {
        Self { name, signed: true, kind: SlotKind::Moment, shape: SlotShape::Param }
    }

    /// A scalar for each tensor.
    #[must_use]
    pub const fn scalar(name: &'static str) -> Self {
        Self::moment(name).exact().shape(SlotShape::Scalar)
    }

    /// A scalar of all tensors together that the rule's sums go over.
    #[must_use]
    pub const fn joint(name: &'static str) -> Self {
        Self::moment(name).exact().shape(SlotShape::Joint)
    }

    /// What is never negative.
    #[must_use]
    pub const fn unsigned(self) -> Self {
        Self { signed: false, ..self }
    }

    /// What is kept in f32 in any format.
    #[must_use]
    pub const fn exact(self) -> Self {
        Self { kind: SlotKind::Exact, ..self }
    }

    /// What has another shape than the parameter.
    #[must_use]
    pub const fn shape(self, shape: SlotShape) -> Self {
        Self { shape, ..self }
    }

    /// The format of the slot where the group's is this.
    #[must_use]
    pub const fn format(self, group: StateFormat) -> StateFormat {
        match (self.kind, self.shape) {
            (SlotKind::Moment, SlotShape::Param) => group,
            _ => StateFormat::F32,
        }
    }

    /// The slot's dimensions beside a parameter with these.
    #[must_use]
    pub fn dims(self, param: &[usize]) -> Vec<usize> {
        let mut dims = param.to_vec();
        match (self.shape, &mut dims[..]) {
            (SlotShape::Rows, [.., last]) => *last = 1,
            (SlotShape::Columns, [.., rows, _]) => *rows = 1,
            (SlotShape::Blocks(blocks), _) => dims = vec![blocks],
            (SlotShape::Scalar | SlotShape::Joint, _) => dims.clear(),
            _ => {}
        }
        dims
    }

    /// Whether the blocks are equal parts of a tensor's first dimension, of which one without any has one.
    ///
    /// # Errors
    /// [`Error::Blocks`] if not.
    pub(crate) fn check(self, tensor: &TensorSpec) -> Result<()> {
        let first = tensor.shape.first().copied().unwrap_or(1);
        match self.shape {
            SlotShape::Blocks(blocks) if !first.is_multiple_of(blocks) => {
                Err(Error::Blocks { tensor: tensor.name.clone(), slot: self.name, blocks, first })
            }
            _ => Ok(()),
        }
    }

    /// Elements of the slot beside a tensor, whose own are counted.
    pub(crate) fn len_elems(self, tensor: &TensorSpec) -> u64 {
        self.dims(&tensor.shape).iter().map(|dim| *dim as u64).product()
    }

    /// Whether it has a value for each row, column or block.
    pub(crate) const fn is_vector(self) -> bool {
        matches!(self.shape, SlotShape::Rows | SlotShape::Columns | SlotShape::Blocks(_))
    }

    /// The same of any number of blocks, which kernels do not know.
    pub(crate) const fn uncounted(self) -> Self {
        match self.shape {
            SlotShape::Blocks(_) => self.shape(SlotShape::Blocks(1)),
            _ => self,
        }
    }

    /// Whether it lies in the tiles of the state, and not beside them.
    pub(crate) const fn is_tiled(self) -> bool {
        matches!(self.shape, SlotShape::Param)
    }
}

/// The slots of a tensor with this rule, and of what comes after its updates.
pub(crate) fn slots_of(group: &Group, tensor: &TensorSpec) -> Vec<Slot> {
    let mut slots = group.rule.slots(tensor);
    slots.extend(group.after_slots());
    slots
}

/// How many blocks a tensor has, if any slot has a value for each.
pub(crate) fn blocks_of(slots: &[Slot]) -> Option<usize> {
    slots.iter().find_map(|slot| match slot.shape {
        SlotShape::Blocks(blocks) => Some(blocks),
        _ => None,
    })
}

/// The dimensions of a row, beside a parameter with these: of a block, or the last.
pub(crate) fn row_dims(slots: &[Slot], param: &[usize]) -> Vec<usize> {
    match (blocks_of(slots), param) {
        (Some(blocks), [first, rest @ ..]) => {
            let own = first.checked_div(blocks).unwrap_or(0);
            [&[own], rest].concat()
        }
        (None, [.., last]) => vec![*last],
        (_, []) => Vec::new(),
    }
}

/// The slots that lie in tiles.
pub(crate) fn tiled(slots: &[Slot]) -> Vec<Slot> {
    slots.iter().copied().filter(|slot| slot.is_tiled()).collect()
}

/// Bytes of 256 elements in these slots, which lie in tiles.
pub(crate) fn tile_bytes(slots: &[Slot], state: StateFormat) -> u64 {
    slots.iter().map(|slot| slot.format(state).tile_bytes()).sum()
}

/// Where the tiles of a slot lie among those of all slots, which lie tile by tile: in every `stride` bytes from
/// `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InTiles {
    /// Bytes of a tile in all slots.
    pub(crate) stride: usize,
    pub(crate) first: usize,
    /// Bytes of the slot's tile.
    pub(crate) bytes: usize,
}

impl InTiles {
    /// Those of the slot of this number, in state of this format.
    pub(crate) fn new(slots: &[Slot], number: usize, state: StateFormat) -> Self {
        let host = |bytes: u64| fits(bytes, "a tile is short");
        Self {
            stride: host(tile_bytes(&tiled(slots), state)),
            first: host(tile_bytes(&tiled(&slots[..number]), state)),
            bytes: host(slots[number].format(state).tile_bytes()),
        }
    }

    /// The slot's tiles of those of all slots.
    pub(crate) fn gather(&self, all: &[u8]) -> Vec<u8> {
        let tiles = all.chunks_exact(self.stride);
        tiles.flat_map(|tile| &tile[self.first..self.first + self.bytes]).copied().collect()
    }

    /// Puts the slot's tiles, of which the last may be short, among those of all slots.
    pub(crate) fn scatter(&self, own: &[u8], all: &mut [u8]) {
        for (from, into) in own.chunks(self.bytes).zip(all.chunks_exact_mut(self.stride)) {
            into[self.first..self.first + from.len()].copy_from_slice(from);
        }
    }
}

/// The bits of the slots for which something holds: bit n for slot n.
pub(crate) fn mask(slots: &[Slot], holds: impl Fn(&Slot) -> bool) -> u32 {
    (0u32..).zip(slots).map(|(number, slot)| u32::from(holds(slot)) << number).sum()
}

#[cfg(test)]
mod tests;
