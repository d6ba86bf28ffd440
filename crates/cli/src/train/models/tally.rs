//! The sums that a round ends with.

use anyhow::{Context, Result};
use fallline::{Gpu, wgpu};
use wgpu::{Buffer, BufferUsages, CommandEncoder};

use super::{
    examples::{Examples, Labels, Places},
    kernel::{Batch, Kernel, begin, filled, kernel, read, write},
};
use crate::compute;

const TALLY: (&str, &str) = ("train tally", include_str!("shaders/tally.wgsl"));

/// Sums over some places; as `tally.wgsl` knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct Total {
    loss: f32,
    hits: u32,
}

/// Means over some places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::train) struct Score {
    pub(in crate::train) loss: f64,
    /// The part of the examples whose class has the largest logit.
    pub(in crate::train) accuracy: f64,
}

/// What a model did in a round: with each example as it was when that last came.
#[derive(Clone, Debug)]
pub(in crate::train) struct Scores {
    pub(in crate::train) train: Score,
    pub(in crate::train) test: Score,
    /// Of each step.
    pub(in crate::train) steps: Vec<Score>,
}

/// Adds up losses and hits on the GPU.
#[derive(Debug)]
pub(super) struct Tally {
    /// The rows that are added up: of the places to train with, of those to test with, of each batch to train with.
    spans: Vec<Batch>,
    buffer: Buffer,
    totals: Buffer,
    staging: Buffer,
    kernel: Kernel,
}

impl Tally {
    /// Call it inside of [`Gpu::checked`].
    pub(super) fn new(
        gpu: &Gpu,
        places: &Places,
        labels: Labels<'_>,
        examples: &Examples,
    ) -> Result<Self> {
        let sets = [&places.train, &places.test].map(|batches| Places::span(batches));
        let spans = sets.iter().chain(&places.train).map(|span| span.rows_of(labels.length));
        let spans: Vec<Batch> = spans.collect();
        let size = (spans.len() * size_of::<Total>()) as u64;
        let storage = BufferUsages::STORAGE;
        let readback = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let workgroups = (u32::try_from(spans.len())?, 1);
        let buffer = filled(gpu, "train spans", bytemuck::cast_slice(&spans), storage);
        let totals = compute::buffer(gpu, "train totals", size, storage | BufferUsages::COPY_SRC);
        let bindings = [
            read(examples.losses.slice(..)),
            read(examples.hits.slice(..)),
            read(buffer.slice(..)),
            write(totals.slice(..)),
        ];
        let kernel = kernel(gpu, TALLY, &[], &[], &bindings, workgroups)?;
        let staging = compute::buffer(gpu, "train readback", size, readback);
        Ok(Self { spans, buffer, totals, staging, kernel })
    }

    /// Says of which rows to train with the next round is, from the next submission on.
    pub(super) fn write_train(&mut self, gpu: &Gpu, train: Batch) {
        self.spans[0] = train;
        gpu.queue().write_buffer(&self.buffer, 0, bytemuck::bytes_of(&train));
    }

    pub(super) fn encode(&self, encoder: &mut CommandEncoder) {
        let Self { totals, staging, kernel, .. } = self;
        kernel.record(&mut begin(encoder, "train tally"), 0);
        encoder.copy_buffer_to_buffer(totals, 0, staging, 0, totals.size());
    }

    /// Waits for what the last tally that was submitted has added up.
    pub(super) fn read(&self, gpu: &Gpu) -> Result<Scores> {
        let totals: Vec<Total> = compute::read(gpu, &self.staging)?;
        let score = |(total, span): (&Total, &Batch)| Score {
            loss: f64::from(total.loss) / f64::from(span.rows),
            accuracy: f64::from(total.hits) / f64::from(span.rows),
        };
        let mut scores = totals.iter().zip(&self.spans).map(score);
        let sets = scores.next().zip(scores.next());
        let (train, test) = sets.context("two sums, as many as the buffer has room for")?;
        let end = self.spans[0].start + self.spans[0].rows;
        let is_trained = self.spans[2..].iter().take_while(|span| span.start < end).count();
        Ok(Scores { train, test, steps: scores.take(is_trained).collect() })
    }
}
