//! The examples of a round on the GPU, in batches: which they are, what is right, how well a model does.

use fallline::{Gpu, wgpu};
use wgpu::{Buffer, BufferUsages};

use super::kernel::{Batch, BatchTable, filled, scratch};

/// The places of an order, in batches. Those to train with come first.
#[derive(Clone, Debug)]
pub(in crate::train) struct Places {
    pub(super) train: Vec<Batch>,
    pub(super) test: Vec<Batch>,
}

impl Places {
    /// So many to train with and to test with, in batches of at most `batch_size`.
    pub(super) fn new(train: u32, test: u32, batch_size: u32) -> Self {
        let cut = |start: u32, end: u32| {
            let batch = |start| Batch { start, rows: batch_size.min(end - start) };
            (start..end).step_by(batch_size as usize).map(batch).collect()
        };
        Self { train: cut(0, train), test: cut(train, train + test) }
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = Batch> {
        self.train.iter().chain(&self.test).copied()
    }

    /// All that these batches cover.
    pub(super) fn span(batches: &[Batch]) -> Batch {
        let (start, end) = (batches.first(), batches.last());
        let start = start.map_or(0, |batch| batch.start);
        Batch { start, rows: end.map_or(start, |batch| batch.start + batch.rows) - start }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        Self::span(&self.train).rows + Self::span(&self.test).rows
    }
}

/// What is right: of an image its class; of a sequence, that begins at a token, the tokens behind that.
#[derive(Clone, Copy, Debug)]
pub(in crate::train) struct Labels<'a> {
    pub(super) classes: u32,
    pub(super) labels: &'a [u32],
    /// How many rows an example has, each with a label of its own.
    pub(super) length: u32,
    /// How far behind the example its first label is.
    pub(super) shift: u32,
}

/// What the kernels of every model and of the loss are told of the examples.
#[derive(Debug)]
pub(super) struct Examples {
    pub(super) batches: BatchTable,
    /// Examples of the largest batch.
    pub(super) batch_size: u32,
    /// The example of each place.
    pub(super) order: Buffer,
    pub(super) labels: Buffer,
    /// One of each for each row of each place.
    pub(super) losses: Buffer,
    pub(super) hits: Buffer,
}

impl Examples {
    /// Call it inside of [`Gpu::checked`].
    pub(super) fn new(gpu: &Gpu, places: &Places, labels: Labels<'_>) -> Self {
        let batches: Vec<Batch> = places.batches().collect();
        let order = vec![0; 4 * places.len() as usize];
        let rows = places.len() * labels.length;
        let labels = bytemuck::cast_slice(labels.labels);
        Self {
            batches: BatchTable::new(gpu, &batches),
            batch_size: batches.iter().map(|batch| batch.rows).max().unwrap_or(1),
            order: filled(gpu, "train order", &order, BufferUsages::STORAGE),
            labels: filled(gpu, "train labels", labels, BufferUsages::STORAGE),
            losses: scratch(gpu, "train losses", rows),
            hits: scratch(gpu, "train hits", rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_every_place_once() {
        let places = Places::new(10, 10, 4);
        let batches: Vec<(u32, u32)> = places.batches().map(|b| (b.start, b.rows)).collect();
        assert_eq!(batches, [(0, 4), (4, 4), (8, 2), (10, 4), (14, 4), (18, 2)]);
        assert_eq!(Places::span(&places.test), Batch { start: 10, rows: 10 });
        assert_eq!(places.len(), 20);
    }
}
