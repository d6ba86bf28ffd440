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
    pub(in crate::train) test: Score,
    /// Of each step.
    pub(in crate::train) steps: Vec<Score>,
}

/// Adds up losses and hits on the GPU.
#[derive(Debug)]
pub(super) struct Tally {
    /// The rows that are added up: of the places to test with, of each batch to train with.
    spans: Vec<Batch>,
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
        let test = Places::span(&places.test);
        let spans = [test].into_iter().chain(places.train.iter().copied());
        let spans = spans.map(|span| span.rows_of(labels.length));
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
        Ok(Self { spans, totals, staging, kernel })
    }

    pub(super) fn encode(&self, encoder: &mut CommandEncoder) {
        let Self { totals, staging, kernel, .. } = self;
        kernel.record(&mut begin(encoder, "train tally"), 0);
        encoder.copy_buffer_to_buffer(totals, 0, staging, 0, totals.size());
    }

    /// Waits for what the last tally that was submitted has added up, in a round of so many steps.
    pub(super) fn read(&self, gpu: &Gpu, steps: u32) -> Result<Scores> {
        let totals: Vec<Total> = compute::read(gpu, &self.staging)?;
        let score = |(total, span): (&Total, &Batch)| Score {
            loss: f64::from(total.loss) / f64::from(span.rows),
            accuracy: f64::from(total.hits) / f64::from(span.rows),
        };
        let mut scores = totals.iter().zip(&self.spans).map(score);
        let test = scores.next().context("a sum, as many as the buffer has room for")?;
        Ok(Scores { test, steps: scores.take(steps as usize).collect() })
    }
}
