//! What a group has around its rule, as kernels must know it.

/// What becomes of a direction before the parameter follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Steering {
    pub(crate) caution: bool,
    pub(crate) clip_update: bool,
    /// Weight decay that looks at the direction.
    pub(crate) cautious_decay: bool,
}

impl Steering {
    /// Whether something is summed over the tensor for it.
    pub(crate) fn sums(self) -> bool {
        self.caution || self.clip_update
    }
}

/// What comes after an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct After {
    pub(crate) lookahead: bool,
    pub(crate) averages: bool,
}

impl After {
    /// Its slots, which lie in f32 behind the rule's.
    pub(crate) fn slots(self) -> usize {
        usize::from(self.lookahead) + usize::from(self.averages)
    }
}
