//! The perceptron's kernels: images, layers, and back.

use fallline::{TensorId, wgpu};
use wgpu::{Buffer, BufferUsages};

use super::{CLASSES, Perceptron, ids};
use crate::train::models::{
    Context, Layers, codec,
    kernel::{Kernel, filled, kernel, read, scratch, tiles, write},
};

const GATHER: (&str, &str) = ("train gather", include_str!("shaders/gather.wgsl"));
const FORWARD: (&str, &str) = ("train forward", include_str!("shaders/forward.wgsl"));
const BACKWARD_PARAM: (&str, &str) =
    ("train backward to parameters", include_str!("shaders/backward_param.wgsl"));
const BACKWARD_INPUT: (&str, &str) =
    ("train backward to input", include_str!("shaders/backward_input.wgsl"));

/// What the kernels are made from. Layer n reads output n and writes output n + 1.
struct Kernels<'a> {
    context: &'a Context<'a>,
    layers: Vec<(u32, u32)>,
    images: Buffer,
    /// What each layer puts out, for the rows of a batch; the batch's images first.
    outputs: Vec<Buffer>,
    /// Their gradients; that of the images is never written.
    output_grads: Vec<Buffer>,
}

/// Call it inside of [`Gpu::checked`](fallline::Gpu::checked).
pub(super) fn layers(model: &Perceptron, context: &Context<'_>) -> anyhow::Result<Layers> {
    let Context { gpu, examples, .. } = *context;
    let of_each_layer = |label: &str| -> Vec<Buffer> {
        model.shape.0.iter().map(|width| scratch(gpu, label, examples.batch_size * width)).collect()
    };
    let pixels = bytemuck::cast_slice(&model.digits.pixels);
    let mut kernels = Kernels {
        context,
        layers: model.shape.layers(),
        images: filled(gpu, "train images", pixels, BufferUsages::STORAGE),
        outputs: of_each_layer("train output"),
        output_grads: of_each_layer("train output gradient"),
    };
    let (forward, backward) = (kernels.forward()?, kernels.backward()?);
    let logits = kernels.outputs.swap_remove(kernels.layers.len());
    let logits_grad = kernels.output_grads.swap_remove(kernels.layers.len());
    Ok(Layers { forward, backward, logits, logits_grad, stride: CLASSES })
}

impl Kernels<'_> {
    /// Images, layers.
    fn forward(&self) -> anyhow::Result<Vec<Kernel>> {
        let mut kernels = vec![self.gather()?];
        for (layer, (weight, bias)) in ids(self.context.optimizer).into_iter().enumerate() {
            kernels.push(self.linear(layer, weight, bias)?);
        }
        Ok(kernels)
    }

    /// From the last layer to the first, which has no use for a gradient of the images.
    fn backward(&self) -> anyhow::Result<Vec<Kernel>> {
        let mut kernels = Vec::new();
        for (layer, (weight, bias)) in ids(self.context.optimizer).into_iter().enumerate().rev() {
            kernels.push(self.backward_param(layer, weight, bias)?);
            if layer > 0 {
                kernels.push(self.backward_input(layer, weight)?);
            }
        }
        Ok(kernels)
    }

    fn gather(&self) -> anyhow::Result<Kernel> {
        let Context { gpu, examples, .. } = *self.context;
        let width = self.layers[0].0;
        let bindings = [
            examples.batches.binding(),
            read(examples.order.slice(..)),
            read(self.images.slice(..)),
            write(self.outputs[0].slice(..)),
        ];
        let constants = [("FEATURES", width.into())];
        kernel(gpu, GATHER, &[], &constants, &bindings, tiles(width / 4, examples.batch_size))
    }

    fn linear(&self, layer: usize, weight: TensorId, bias: TensorId) -> anyhow::Result<Kernel> {
        let Context { gpu, examples, param, .. } = *self.context;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            examples.batches.binding(),
            read(self.outputs[layer].slice(..)),
            self.context.param(weight)?,
            self.context.param(bias)?,
            write(self.outputs[layer + 1].slice(..)),
        ];
        let relu = layer + 1 < self.layers.len();
        let constants =
            [("IN", inputs.into()), ("OUT", width.into()), ("RELU", u8::from(relu).into())];
        let grid = tiles(width, examples.batch_size);
        kernel(gpu, FORWARD, &codec::param(param)?, &constants, &bindings, grid)
    }

    fn backward_param(
        &self,
        layer: usize,
        weight: TensorId,
        bias: TensorId,
    ) -> anyhow::Result<Kernel> {
        let Context { gpu, examples, grad, .. } = *self.context;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            examples.batches.binding(),
            read(self.outputs[layer].slice(..)),
            read(self.output_grads[layer + 1].slice(..)),
            self.context.grad(weight)?,
            self.context.grad(bias)?,
        ];
        let constants = [("IN", inputs.into()), ("OUT", width.into())];
        let grid = tiles(inputs / 4, width);
        kernel(gpu, BACKWARD_PARAM, &codec::grad(grad)?, &constants, &bindings, grid)
    }

    fn backward_input(&self, layer: usize, weight: TensorId) -> anyhow::Result<Kernel> {
        let Context { gpu, examples, param, .. } = *self.context;
        let (inputs, width) = self.layers[layer];
        let bindings = [
            examples.batches.binding(),
            read(self.outputs[layer].slice(..)),
            self.context.param(weight)?,
            read(self.output_grads[layer + 1].slice(..)),
            write(self.output_grads[layer].slice(..)),
        ];
        let constants = [("IN", inputs.into()), ("OUT", width.into())];
        let grid = tiles(inputs / 4, examples.batch_size);
        kernel(gpu, BACKWARD_INPUT, &codec::param(param)?, &constants, &bindings, grid)
    }
}
