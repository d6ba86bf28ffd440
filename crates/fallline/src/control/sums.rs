//! Exact sums of squares, for optimizers that are parts of one.

use crate::{
    Error, Result,
    abi::{LIMBS, Total},
    fits::fits,
};

/// What some optimizers measured, to be added up: exact sums of squares of each group, as whole numbers.
///
/// Optimizers over parts of the same groups, on one device or on many, add up their sums
/// ([`add`](Self::add), or words in an all-reduce), and each updates by the sum of all
/// ([`Optimizer::encode_update`](crate::Optimizer::encode_update)): all of them decide alike, and as an
/// optimizer over all tensors would, to the bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// By group: limbs of 16 bits, rows with infinities, rows with NaN.
    added: Vec<u64>,
    /// By group: the exponent of the largest magnitude.
    maxima: Vec<u64>,
}

/// Words of a group that are added.
const ADDED: usize = LIMBS + 2;

impl Sums {
    pub(crate) fn new(totals: &[Total]) -> Self {
        let words = |total: &Total| {
            let marks = [total.infinite, total.not_a_number];
            total.limbs.into_iter().chain(marks).map(u64::from).collect::<Vec<u64>>()
        };
        Self {
            added: totals.iter().flat_map(words).collect(),
            maxima: totals.iter().map(|total| total.largest.into()).collect(),
        }
    }

    /// Adds those of another part.
    ///
    /// # Errors
    /// [`Error::SumCount`] if they are of another number of groups.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        let (expected, found) = (self.groups(), other.groups());
        if found != expected {
            return Err(Error::SumCount { expected, found });
        }
        for (word, more) in self.added.iter_mut().zip(&other.added) {
            *word = word.saturating_add(*more);
        }
        for (most, other) in self.maxima.iter_mut().zip(&other.maxima) {
            *most = (*most).max(*other);
        }
        Ok(())
    }

    /// What an all-reduce adds up.
    pub fn added_mut(&mut self) -> &mut [u64] {
        &mut self.added
    }

    /// What an all-reduce takes the largest of.
    pub fn maxima_mut(&mut self) -> &mut [u64] {
        &mut self.maxima
    }

    /// How many groups they are of.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.maxima.len()
    }

    /// As the GPU takes them: carries passed on.
    pub(crate) fn totals(&self) -> Vec<Total> {
        let total = |(words, largest): (&[u64], &u64)| {
            let mut total = Total { limbs: [0; LIMBS], largest: 0, ..bytemuck::Zeroable::zeroed() };
            let mut above = 0u64;
            for (limb, word) in total.limbs.iter_mut().zip(words) {
                let sum = word.saturating_add(above);
                *limb = fits(sum & 0xffff, "16 bits");
                above = sum >> 16;
            }
            let mark = |word: usize| u32::from(words[word] != 0);
            (total.infinite, total.not_a_number) = (mark(LIMBS), mark(LIMBS + 1));
            // What no limb holds is beyond every norm.
            total.infinite |= u32::from(above != 0);
            // Saturates: beyond every bound.
            total.largest = u32::try_from(*largest).unwrap_or(u32::MAX);
            total
        };
        self.added.chunks_exact(ADDED).zip(&self.maxima).map(total).collect()
    }
}
