//! What a rule keeps beside a parameter.

use crate::StateFormat;

/// Slots that a rule can keep: `Slots` of `shared/slots.wgsl`.
#[cfg(test)]
pub(crate) const MAX_SLOTS: usize = 8;

/// One of the values that a rule keeps for each element of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Slot {
    /// torch's name of it.
    pub name: &'static str,
    /// Whether it may be negative: second moments are not, and have codes of their own.
    pub signed: bool,
    /// What it is, and so how it is kept.
    pub kind: SlotKind,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlotKind {
    /// An average of gradients or of their powers: kept in the state format of its group.
    Moment,
    /// A copy or an average of the parameter, or a sum: kept in f32, since what is rounded away would be
    /// missed for good.
    Exact,
}

impl Slot {
    /// A moment of either sign.
    #[must_use]
    pub const fn moment(name: &'static str) -> Self {
        Self { name, signed: true, kind: SlotKind::Moment }
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

    /// The format of the slot where the group's is this.
    #[must_use]
    pub const fn format(self, group: StateFormat) -> StateFormat {
        match self.kind {
            SlotKind::Moment => group,
            SlotKind::Exact => StateFormat::F32,
        }
    }
}

/// Bytes of 256 elements in all slots.
pub(crate) fn tile_bytes(slots: &[Slot], state: StateFormat) -> u64 {
    slots.iter().map(|slot| slot.format(state).block_bytes()).sum()
}

/// The bits of the slots for which something holds: bit n for slot n.
pub(crate) fn mask(slots: &[Slot], holds: impl Fn(&Slot) -> bool) -> u32 {
    (0u32..).zip(slots).map(|(number, slot)| u32::from(holds(slot)) << number).sum()
}

#[cfg(test)]
mod tests;
