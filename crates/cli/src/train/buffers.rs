//! Everything that the network keeps on the GPU and that is no parameter and no gradient of one.

use fallline::{Gpu, wgpu};
use wgpu::BufferUsages;

use super::{
    data::Digits,
    kernel::{Batch, Batches, filled},
    shape::Shape,
};
use crate::compute;

/// Sums over the images to train with, or over the others; as `tally.wgsl` knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Total {
    pub(super) loss: f32,
    pub(super) hits: u32,
}

/// Images, what the layers make of them, losses, sums.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) batches: Batches,
    /// Rows of the largest batch.
    pub(super) rows: u32,
    pub(super) order: wgpu::Buffer,
    pub(super) images: wgpu::Buffer,
    pub(super) labels: wgpu::Buffer,
    /// What each layer puts out, for the rows of a batch; the batch's images first.
    pub(super) outputs: Vec<wgpu::Buffer>,
    /// Their gradients; that of the images is never written.
    pub(super) output_grads: Vec<wgpu::Buffer>,
    pub(super) losses: wgpu::Buffer,
    pub(super) hits: wgpu::Buffer,
    pub(super) totals: wgpu::Buffer,
    pub(super) staging: wgpu::Buffer,
}

impl Buffers {
    pub(super) fn new(gpu: &Gpu, shape: &Shape, digits: &Digits, batches: &[Batch]) -> Self {
        let storage = BufferUsages::STORAGE;
        let zeros = |label: &str, size, usage| compute::buffer(gpu, label, size, usage);
        let filled = |label: &str, bytes: &[u8]| filled(gpu, label, bytes, storage);
        let rows = batches.iter().map(|batch| batch.rows).max().unwrap_or(1);
        let of_each_layer = |label: &str| -> Vec<wgpu::Buffer> {
            let size = |width: u32| u64::from(rows) * u64::from(width) * 4;
            shape.0.iter().map(|&width| zeros(label, size(width), storage)).collect()
        };
        let order_bytes = u64::from(digits.len()) * 4;
        let totals_bytes = 2 * size_of::<Total>() as u64;
        let readback = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        Self {
            batches: Batches::new(gpu, batches),
            rows,
            order: zeros("train order", order_bytes, storage | BufferUsages::COPY_DST),
            images: filled("train images", bytemuck::cast_slice(&digits.pixels)),
            labels: filled("train labels", bytemuck::cast_slice(&digits.labels)),
            outputs: of_each_layer("train output"),
            output_grads: of_each_layer("train output gradient"),
            losses: zeros("train losses", order_bytes, storage),
            hits: zeros("train hits", order_bytes, storage),
            totals: zeros("train totals", totals_bytes, storage | BufferUsages::COPY_SRC),
            staging: zeros("train readback", totals_bytes, readback),
        }
    }
}
