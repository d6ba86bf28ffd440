//! The perceptron on the GPU: its buffers, its kernels, and a batch through them.

use anyhow::Context;
use fallline::{Gpu, Optimizer, TensorId, wgpu};
use wgpu::{BufferUsages, CommandEncoder};

use super::{
    data::Digits,
    kernel::{Batch, Batches, dispatch, filled, read, write},
    shape::{Shape, ids},
};
use crate::compute::{self, Dispatch};

const GATHER: (&str, &str) = ("train gather", include_str!("shaders/gather.wgsl"));
const FORWARD: (&str, &str) = ("train forward", include_str!("shaders/forward.wgsl"));
const LOSS: (&str, &str) = ("train loss", include_str!("shaders/loss.wgsl"));
const BACKWARD_PARAM: (&str, &str) =
    ("train backward to parameters", include_str!("shaders/backward_param.wgsl"));
const BACKWARD_INPUT: (&str, &str) =
    ("train backward to input", include_str!("shaders/backward_input.wgsl"));
const TALLY: (&str, &str) = ("train tally", include_str!("shaders/tally.wgsl"));

/// Sums over the images to train with, or over the others; as `tally.wgsl` knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Total {
    pub(super) loss: f32,
    pub(super) hits: u32,
}

/// The images on the GPU and the kernels of a batch, bound to an optimizer's tensors.
#[derive(Debug)]
pub(super) struct Network {
    buffers: Buffers,
    forward: Vec<Dispatch>,
    backward: Vec<Dispatch>,
    tally: Dispatch,
}

impl Network {
    /// A network for these batches; the first `train_rows` images in order are to train with. The
    /// optimizer is one over [`Shape::tensors`].
    pub(super) fn new(
        optimizer: &Optimizer,
        shape: &Shape,
        digits: &Digits,
        batches: &[Batch],
        train_rows: u32,
    ) -> anyhow::Result<Self> {
        let gpu = optimizer.gpu();
        gpu.checked("the network", || {
            let buffers = Buffers::new(gpu, shape, digits, batches);
            let kernels =
                Kernels { gpu, optimizer, buffers: &buffers, layers: shape.layers(), train_rows };
            let (forward, backward) = (kernels.forward()?, kernels.backward()?);
            let tally = kernels.tally()?;
            Ok(Self { buffers, forward, backward, tally })
        })?
    }

    /// Says in which order the images come, from the next submission on.
    pub(super) fn write_order(&self, gpu: &Gpu, order: &[u32]) {
        gpu.queue().write_buffer(&self.buffers.order, 0, bytemuck::cast_slice(order));
    }

    /// Records a batch through the layers, and the loss of each of its images.
    pub(super) fn encode_forward(&self, encoder: &mut CommandEncoder, batch: u32) {
        self.encode(encoder, "train forward", batch, &[&self.forward]);
    }

    /// Records a batch through the layers and back: the optimizer's gradients are ready then.
    pub(super) fn encode_backward(&self, encoder: &mut CommandEncoder, batch: u32) {
        self.encode(encoder, "train backward", batch, &[&self.forward, &self.backward]);
    }

    fn encode(
        &self,
        encoder: &mut CommandEncoder,
        label: &str,
        batch: u32,
        parts: &[&Vec<Dispatch>],
    ) {
        let mut pass = begin(encoder, label);
        let offset = self.buffers.batches.offset(batch);
        for dispatch in parts.iter().copied().flatten() {
            dispatch.record_at(&mut pass, &[offset]);
        }
    }

    /// Records the sums over all images to train with and over all others.
    pub(super) fn encode_tally(&self, encoder: &mut CommandEncoder) {
        let Buffers { totals, staging, .. } = &self.buffers;
        self.tally.record(&mut begin(encoder, "train tally"));
        encoder.copy_buffer_to_buffer(totals, 0, staging, 0, totals.size());
    }

    /// Waits for the sums of the last tally that was submitted.
    pub(super) fn read_totals(&self, gpu: &Gpu) -> anyhow::Result<[Total; 2]> {
        let totals: Vec<Total> = compute::read(gpu, &self.buffers.staging)?;
        totals.try_into().ok().context("two sums, as many as the buffer has room for")
    }
}

fn begin<'a>(encoder: &'a mut CommandEncoder, label: &str) -> wgpu::ComputePass<'a> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some(label),
        timestamp_writes: None,
    })
}

/// Everything that is not a parameter or a gradient of one.
#[derive(Debug)]
struct Buffers {
    batches: Batches,
    /// Rows of the largest batch.
    rows: u32,
    order: wgpu::Buffer,
    images: wgpu::Buffer,
    labels: wgpu::Buffer,
    /// What each layer puts out, for the rows of a batch; the batch's images first.
    outputs: Vec<wgpu::Buffer>,
    /// Their gradients; that of the images is never written.
    output_grads: Vec<wgpu::Buffer>,
    losses: wgpu::Buffer,
    hits: wgpu::Buffer,
    totals: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Buffers {
    fn new(gpu: &Gpu, shape: &Shape, digits: &Digits, batches: &[Batch]) -> Self {
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

/// What the kernels are made from. Layer n reads output n and writes output n + 1.
struct Kernels<'a> {
    gpu: &'a Gpu,
    optimizer: &'a Optimizer,
    buffers: &'a Buffers,
    layers: Vec<(u32, u32)>,
    train_rows: u32,
}

impl Kernels<'_> {
    /// Images, layers, loss.
    fn forward(&self) -> anyhow::Result<Vec<Dispatch>> {
        let mut dispatches = vec![self.gather()?];
        for (layer, (weight, bias)) in ids(self.optimizer).into_iter().enumerate() {
            dispatches.push(self.linear(layer, weight, bias)?);
        }
        dispatches.push(self.loss()?);
        Ok(dispatches)
    }

    /// From the last layer to the first, which has no use for a gradient of the images.
    fn backward(&self) -> anyhow::Result<Vec<Dispatch>> {
        let mut dispatches = Vec::new();
        for (layer, (weight, bias)) in ids(self.optimizer).into_iter().enumerate().rev() {
            dispatches.push(self.backward_param(layer, weight, bias)?);
            if layer > 0 {
                dispatches.push(self.backward_input(layer, weight)?);
            }
        }
        Ok(dispatches)
    }

    fn gather(&self) -> anyhow::Result<Dispatch> {
        let Buffers { batches, order, images, outputs, rows, .. } = self.buffers;
        let width = self.layers[0].0;
        let bindings = [
            batches.binding(),
            read(order.slice(..)),
            read(images.slice(..)),
            write(outputs[0].slice(..)),
        ];
        let constants = [("FEATURES", width.into())];
        dispatch(self.gpu, GATHER, &constants, &bindings, tiles(width / 4, *rows))
    }

    fn linear(&self, layer: usize, weight: TensorId, bias: TensorId) -> anyhow::Result<Dispatch> {
        let Buffers { batches, outputs, rows, .. } = self.buffers;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            batches.binding(),
            read(outputs[layer].slice(..)),
            read(self.optimizer.param(weight)?),
            read(self.optimizer.param(bias)?),
            write(outputs[layer + 1].slice(..)),
        ];
        let relu = layer + 1 < self.layers.len();
        let constants =
            [("IN", inputs.into()), ("OUT", width.into()), ("RELU", u8::from(relu).into())];
        dispatch(self.gpu, FORWARD, &constants, &bindings, tiles(width, *rows))
    }

    fn loss(&self) -> anyhow::Result<Dispatch> {
        let Buffers { batches, order, labels, outputs, output_grads, losses, hits, rows, .. } =
            self.buffers;
        let (last, classes) = (self.layers.len(), self.layers[self.layers.len() - 1].1);
        let bindings = [
            batches.binding(),
            read(order.slice(..)),
            read(labels.slice(..)),
            read(outputs[last].slice(..)),
            write(output_grads[last].slice(..)),
            write(losses.slice(..)),
            write(hits.slice(..)),
        ];
        let constants = [("CLASSES", classes.into())];
        dispatch(self.gpu, LOSS, &constants, &bindings, (rows.div_ceil(64), 1))
    }

    fn backward_param(
        &self,
        layer: usize,
        weight: TensorId,
        bias: TensorId,
    ) -> anyhow::Result<Dispatch> {
        let Buffers { batches, outputs, output_grads, .. } = self.buffers;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            batches.binding(),
            read(outputs[layer].slice(..)),
            read(output_grads[layer + 1].slice(..)),
            write(self.optimizer.grad(weight)?),
            write(self.optimizer.grad(bias)?),
        ];
        let constants = [("IN", inputs.into()), ("OUT", width.into())];
        let grid = tiles(inputs / 4, width);
        dispatch(self.gpu, BACKWARD_PARAM, &constants, &bindings, grid)
    }

    fn backward_input(&self, layer: usize, weight: TensorId) -> anyhow::Result<Dispatch> {
        let Buffers { batches, outputs, output_grads, rows, .. } = self.buffers;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            batches.binding(),
            read(outputs[layer].slice(..)),
            read(self.optimizer.param(weight)?),
            read(output_grads[layer + 1].slice(..)),
            write(output_grads[layer].slice(..)),
        ];
        let constants = [("IN", inputs.into()), ("OUT", width.into())];
        let grid = tiles(inputs / 4, *rows);
        dispatch(self.gpu, BACKWARD_INPUT, &constants, &bindings, grid)
    }

    fn tally(&self) -> anyhow::Result<Dispatch> {
        let Buffers { losses, hits, totals, .. } = self.buffers;
        let bindings = [read(losses.slice(..)), read(hits.slice(..)), write(totals.slice(..))];
        let constants = [("TRAIN_ROWS", self.train_rows.into())];
        dispatch(self.gpu, TALLY, &constants, &bindings, (2, 1))
    }
}

/// Workgroups of 8 × 8 lanes that cover a grid.
fn tiles(width: u32, height: u32) -> (u32, u32) {
    (width.div_ceil(8), height.div_ceil(8))
}
