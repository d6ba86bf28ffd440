//! The perceptron on the GPU: its kernels, and a batch through them.

use std::ops::Range;

use anyhow::Context;
use fallline::{ComputeDispatch, Dtype, Gpu, LossScaler, Optimizer, TensorId, wgpu};
use fallline_shaders::{functions, structs};
use wgpu::CommandEncoder;

use super::{
    buffers::{Buffers, Total},
    codec,
    data::Digits,
    kernel::{Batch, Binding, dispatch, read, uniform, write},
    run::encoder,
    shape::{Shape, ids},
};
use crate::compute;

const GATHER: (&str, &str) = ("train gather", include_str!("shaders/gather.wgsl"));
const FORWARD: (&str, &str) = ("train forward", include_str!("shaders/forward.wgsl"));
const LOSS: (&str, &str) = ("train loss", include_str!("shaders/loss.wgsl"));
const BACKWARD_PARAM: (&str, &str) =
    ("train backward to parameters", include_str!("shaders/backward_param.wgsl"));
const BACKWARD_INPUT: (&str, &str) =
    ("train backward to input", include_str!("shaders/backward_input.wgsl"));
const TALLY: (&str, &str) = ("train tally", include_str!("shaders/tally.wgsl"));

/// The images on the GPU and the kernels of a batch, bound to an optimizer's tensors.
#[derive(Debug)]
pub(super) struct Network {
    buffers: Buffers,
    forward: Vec<ComputeDispatch>,
    /// The gradient of a loss whose labels are drawn.
    draw: Vec<ComputeDispatch>,
    backward: Vec<ComputeDispatch>,
    tally: ComputeDispatch,
}

impl Network {
    /// A network for these batches; the first `train_rows` images in order are to train with. The
    /// optimizer is one over [`Shape::tensors`], all of the same formats; gradients are scaled as
    /// its loss scaler says.
    pub(super) fn new(
        optimizer: &Optimizer,
        shape: &Shape,
        digits: &Digits,
        batches: &[Batch],
        train_rows: u32,
        loss_scaler: Option<&LossScaler>,
    ) -> anyhow::Result<Self> {
        let gpu = optimizer.gpu();
        let (_, spec) = optimizer.tensors().next().context("a network has layers")?;
        let loss_scaler = match loss_scaler {
            Some(scaler) => scaler,
            None => &LossScaler::fixed(gpu, 1.0)?,
        };
        gpu.checked("the network", || {
            let buffers = Buffers::new(gpu, shape, digits, batches);
            let kernels = Kernels {
                gpu,
                optimizer,
                buffers: &buffers,
                layers: shape.layers(),
                train_rows,
                param: spec.dtype,
                grad: spec.grad_dtype,
                loss_scale: loss_scaler.buffer(),
            };
            let (forward, backward) = (kernels.forward()?, kernels.backward()?);
            let (draw, tally) = (vec![kernels.loss(true)?], kernels.tally()?);
            Ok(Self { buffers, forward, draw, backward, tally })
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

    /// Records the same with labels that are drawn from what the network makes of the images.
    pub(super) fn encode_drawn(&self, encoder: &mut CommandEncoder, batch: u32) {
        self.encode(encoder, "train drawn", batch, &[&self.forward, &self.draw, &self.backward]);
    }

    fn encode(
        &self,
        encoder: &mut CommandEncoder,
        label: &str,
        batch: u32,
        parts: &[&Vec<ComputeDispatch>],
    ) {
        let mut pass = begin(encoder, label);
        let offset = self.buffers.batches.offset(batch);
        for dispatch in parts.iter().copied().flatten() {
            dispatch.record(&mut pass, &[offset]);
        }
    }

    /// Runs these batches forward and waits for the sums over all images, as they were last seen: those to train
    /// with, and all others.
    pub(super) fn test(&self, gpu: &Gpu, batches: Range<u32>) -> anyhow::Result<[Total; 2]> {
        let mut encoder = encoder(gpu);
        for batch in batches {
            self.encode_forward(&mut encoder, batch);
        }
        self.encode_tally(&mut encoder);
        gpu.checked("a test", || gpu.queue().submit([encoder.finish()]))?;
        self.read_totals(gpu)
    }

    /// Records the sums over all images to train with and over all others.
    pub(super) fn encode_tally(&self, encoder: &mut CommandEncoder) {
        let Buffers { totals, staging, .. } = &self.buffers;
        self.tally.record(&mut begin(encoder, "train tally"), &[]);
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

/// What the kernels are made from. Layer n reads output n and writes output n + 1.
struct Kernels<'a> {
    gpu: &'a Gpu,
    optimizer: &'a Optimizer,
    buffers: &'a Buffers,
    layers: Vec<(u32, u32)>,
    train_rows: u32,
    /// The formats of all parameters and of all gradients.
    param: Dtype,
    grad: Dtype,
    loss_scale: &'a wgpu::Buffer,
}

impl Kernels<'_> {
    /// Images, layers, loss.
    fn forward(&self) -> anyhow::Result<Vec<ComputeDispatch>> {
        let mut dispatches = vec![self.gather()?];
        for (layer, (weight, bias)) in ids(self.optimizer).into_iter().enumerate() {
            dispatches.push(self.linear(layer, weight, bias)?);
        }
        dispatches.push(self.loss(false)?);
        Ok(dispatches)
    }

    /// From the last layer to the first, which has no use for a gradient of the images.
    fn backward(&self) -> anyhow::Result<Vec<ComputeDispatch>> {
        let mut dispatches = Vec::new();
        for (layer, (weight, bias)) in ids(self.optimizer).into_iter().enumerate().rev() {
            dispatches.push(self.backward_param(layer, weight, bias)?);
            if layer > 0 {
                dispatches.push(self.backward_input(layer, weight)?);
            }
        }
        Ok(dispatches)
    }

    fn param(&self, id: TensorId) -> anyhow::Result<Binding<'_>> {
        Ok(read(codec::whole_words(self.optimizer.param(id)?, self.param)))
    }

    fn grad(&self, id: TensorId) -> anyhow::Result<Binding<'_>> {
        Ok(write(codec::whole_words(self.optimizer.grad(id)?, self.grad)))
    }

    fn gather(&self) -> anyhow::Result<ComputeDispatch> {
        let Buffers { batches, order, images, outputs, rows, .. } = self.buffers;
        let width = self.layers[0].0;
        let bindings = [
            batches.binding(),
            read(order.slice(..)),
            read(images.slice(..)),
            write(outputs[0].slice(..)),
        ];
        let constants = [("FEATURES", width.into())];
        dispatch(self.gpu, GATHER, &[], &constants, &bindings, tiles(width / 4, *rows))
    }

    fn linear(
        &self,
        layer: usize,
        weight: TensorId,
        bias: TensorId,
    ) -> anyhow::Result<ComputeDispatch> {
        let Buffers { batches, outputs, rows, .. } = self.buffers;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            batches.binding(),
            read(outputs[layer].slice(..)),
            self.param(weight)?,
            self.param(bias)?,
            write(outputs[layer + 1].slice(..)),
        ];
        let relu = layer + 1 < self.layers.len();
        let constants =
            [("IN", inputs.into()), ("OUT", width.into()), ("RELU", u8::from(relu).into())];
        let codec = codec::param(self.param)?;
        dispatch(self.gpu, FORWARD, &codec, &constants, &bindings, tiles(width, *rows))
    }

    fn loss(&self, samples: bool) -> anyhow::Result<ComputeDispatch> {
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
            uniform(self.loss_scale),
        ];
        let constants = [("CLASSES", classes.into()), ("SAMPLES", u8::from(samples).into())];
        let grid = (rows.div_ceil(64), 1);
        let sources = [structs::LOSS_SCALE, functions::NOISE];
        dispatch(self.gpu, LOSS, &sources, &constants, &bindings, grid)
    }

    fn backward_param(
        &self,
        layer: usize,
        weight: TensorId,
        bias: TensorId,
    ) -> anyhow::Result<ComputeDispatch> {
        let Buffers { batches, outputs, output_grads, .. } = self.buffers;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            batches.binding(),
            read(outputs[layer].slice(..)),
            read(output_grads[layer + 1].slice(..)),
            self.grad(weight)?,
            self.grad(bias)?,
        ];
        let constants = [("IN", inputs.into()), ("OUT", width.into())];
        let grid = tiles(inputs / 4, width);
        dispatch(self.gpu, BACKWARD_PARAM, &codec::grad(self.grad)?, &constants, &bindings, grid)
    }

    fn backward_input(&self, layer: usize, weight: TensorId) -> anyhow::Result<ComputeDispatch> {
        let Buffers { batches, outputs, output_grads, rows, .. } = self.buffers;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            batches.binding(),
            read(outputs[layer].slice(..)),
            self.param(weight)?,
            read(output_grads[layer + 1].slice(..)),
            write(output_grads[layer].slice(..)),
        ];
        let constants = [("IN", inputs.into()), ("OUT", width.into())];
        let grid = tiles(inputs / 4, *rows);
        dispatch(self.gpu, BACKWARD_INPUT, &codec::param(self.param)?, &constants, &bindings, grid)
    }

    fn tally(&self) -> anyhow::Result<ComputeDispatch> {
        let Buffers { losses, hits, totals, .. } = self.buffers;
        let bindings = [read(losses.slice(..)), read(hits.slice(..)), write(totals.slice(..))];
        let constants = [("TRAIN_ROWS", self.train_rows.into())];
        dispatch(self.gpu, TALLY, &[], &constants, &bindings, (2, 1))
    }
}

/// Workgroups of 8 × 8 lanes that cover a grid.
fn tiles(width: u32, height: u32) -> (u32, u32) {
    (width.div_ceil(8), height.div_ceil(8))
}
