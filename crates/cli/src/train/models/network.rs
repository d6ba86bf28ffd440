//! A model bound to an optimizer: a batch through its layers, the loss, and back.

use fallline::{Gpu, LossScaler, Optimizer, wgpu};
use fallline_shaders::{functions, structs};
use wgpu::{Buffer, BufferUsages, CommandEncoder};

use super::{
    Context, Layers, Model,
    examples::{Examples, Labels, Places},
    kernel::{Kernel, begin, encoder, kernel, read, uniform, write},
    tally::{Scores, Tally},
};
use crate::compute;

const LOSS: (&str, &str) = ("train loss", include_str!("shaders/loss.wgsl"));

/// The examples on the GPU and the kernels of a batch, bound to an optimizer's tensors.
#[derive(Debug)]
pub(in crate::train) struct Network {
    gpu: Gpu,
    places: Places,
    /// How many rows an example has.
    length: u32,
    examples: Examples,
    layers: Layers,
    loss: Vec<Kernel>,
    /// The same where labels are drawn.
    draw: Vec<Kernel>,
    tally: Tally,
    /// Steps of the round.
    steps: u32,
}

impl Network {
    /// The optimizer is one over the model's tensors, all of the same formats; gradients are scaled as
    /// its loss scaler says.
    pub(in crate::train) fn new(
        optimizer: &Optimizer,
        model: &dyn Model,
        loss_scaler: Option<&LossScaler>,
    ) -> anyhow::Result<Self> {
        let gpu = optimizer.gpu();
        let (places, labels) = (model.places(), model.labels());
        let scaler = match loss_scaler {
            Some(scaler) => scaler,
            None => &LossScaler::fixed(gpu, 1.0)?,
        };
        gpu.checked("the network", || {
            let examples = Examples::new(gpu, &places, labels);
            let layers = model.layers(&Context::new(optimizer, &examples)?)?;
            let loss = |samples| loss(gpu, &examples, labels, &layers, scaler.buffer(), samples);
            let (loss, draw) = (vec![loss(false)?], vec![loss(true)?]);
            let tally = Tally::new(gpu, &places, labels, &examples)?;
            let length = labels.length;
            let gpu = gpu.clone();
            Ok(Self { gpu, places, length, examples, layers, loss, draw, tally, steps: 0 })
        })?
    }

    /// Says which example each place has, from the next submission on, and how many batches of them the
    /// next round trains with.
    pub(in crate::train) fn write_round(&mut self, order: &[u32], steps: u32) {
        self.gpu.queue().write_buffer(&self.examples.order, 0, bytemuck::cast_slice(order));
        self.steps = steps;
    }

    /// How many rows a batch to train with has.
    pub(in crate::train) fn rows(&self, batch: u32) -> u32 {
        self.places.train[batch as usize].rows * self.length
    }

    /// The mean loss over all rows of a round whose steps had these.
    pub(in crate::train) fn mean_loss(&self, losses: &[f64]) -> f64 {
        let rows = (0..).map(|batch| f64::from(self.rows(batch)));
        let (sum, all) = losses
            .iter()
            .zip(rows)
            .fold((0.0, 0.0), |(sum, all), (loss, rows)| (sum + loss * rows, all + rows));
        sum / all
    }

    /// Writes the first labels anew, from the next submission on.
    pub(super) fn write_labels(&self, labels: &[u32]) {
        self.gpu.queue().write_buffer(&self.examples.labels, 0, bytemuck::cast_slice(labels));
    }

    /// Runs the first batch forward, and waits for the logits of one of its rows, with what fills up the last word.
    pub(super) fn logits(&self, row: u32) -> anyhow::Result<Vec<f32>> {
        let Layers { logits, stride, .. } = &self.layers;
        let (first, size) = (u64::from(row * stride) * 4, u64::from(*stride) * 4);
        let readback = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staging = self.gpu.checked("logits", || {
            let staging = compute::buffer(&self.gpu, "train logits readback", size, readback);
            let mut encoder = encoder(&self.gpu);
            self.encode_forward(&mut encoder, 0);
            encoder.copy_buffer_to_buffer(logits, first, &staging, 0, size);
            self.gpu.queue().submit([encoder.finish()]);
            staging
        })?;
        compute::read(&self.gpu, &staging)
    }

    /// Records a batch through the layers, and the loss of each of its examples.
    pub(super) fn encode_forward(&self, encoder: &mut CommandEncoder, batch: u32) {
        self.encode(encoder, "train forward", batch, &[&self.layers.forward, &self.loss]);
    }

    /// Records a batch through the layers and back: the optimizer's gradients are ready then.
    pub(in crate::train) fn encode_backward(&self, encoder: &mut CommandEncoder, batch: u32) {
        let Layers { forward, backward, .. } = &self.layers;
        self.encode(encoder, "train backward", batch, &[forward, &self.loss, backward]);
    }

    /// Records the same with labels that are drawn from what the model makes of the examples.
    pub(in crate::train) fn encode_drawn(&self, encoder: &mut CommandEncoder, batch: u32) {
        let Layers { forward, backward, .. } = &self.layers;
        self.encode(encoder, "train drawn", batch, &[forward, &self.draw, backward]);
    }

    fn encode(
        &self,
        encoder: &mut CommandEncoder,
        label: &str,
        batch: u32,
        parts: &[&Vec<Kernel>],
    ) {
        let mut pass = begin(encoder, label);
        let offset = self.examples.batches.offset(batch);
        for kernel in parts.iter().copied().flatten() {
            kernel.record(&mut pass, offset);
        }
    }

    /// Runs the batches to test with forward, and waits for the scores of the round.
    pub(in crate::train) fn test(&self) -> anyhow::Result<Scores> {
        let mut encoder = encoder(&self.gpu);
        for batch in (0..).skip(self.places.train.len()).take(self.places.test.len()) {
            self.encode_forward(&mut encoder, batch);
        }
        self.scores(encoder)
    }

    /// Submits what is recorded, and waits for the scores: of the steps so far, and of the test if that is recorded.
    pub(in crate::train) fn scores(&self, mut encoder: CommandEncoder) -> anyhow::Result<Scores> {
        self.tally.encode(&mut encoder);
        self.gpu.checked("a test", || self.gpu.queue().submit([encoder.finish()]))?;
        self.tally.read(&self.gpu, self.steps)
    }
}

fn loss(
    gpu: &Gpu,
    examples: &Examples,
    labels: Labels<'_>,
    Layers { logits, logits_grad, stride, .. }: &Layers,
    loss_scale: &Buffer,
    samples: bool,
) -> anyhow::Result<Kernel> {
    let bindings = [
        examples.batches.binding(),
        read(examples.order.slice(..)),
        read(examples.labels.slice(..)),
        read(logits.slice(..)),
        write(logits_grad.slice(..)),
        write(examples.losses.slice(..)),
        write(examples.hits.slice(..)),
        uniform(loss_scale),
    ];
    let constants = [
        ("CLASSES", labels.classes.into()),
        ("STRIDE", (*stride).into()),
        ("LENGTH", labels.length.into()),
        ("SHIFT", labels.shift.into()),
        ("SAMPLES", u8::from(samples).into()),
    ];
    let sources = [structs::LOSS_SCALE, functions::NOISE];
    let rows = examples.batch_size * labels.length;
    kernel(gpu, LOSS, &sources, &constants, &bindings, (rows.div_ceil(64), 1))
}
