//! The operations of a GPT as kernels. Activations are f32, row by row, a row for each position of a batch's sequences.

use std::collections::HashMap;

use anyhow::Result;
use fallline::{ComputeKernel, TensorId, wgpu};
use fallline_shaders::{Source, join};
use wgpu::{Buffer, BufferUsages};

use super::Config;
use crate::train::models::{
    Context, codec,
    kernel::{Binding, Kernel, filled, read, scratch, tiles, uniform, write},
};

const MATMUL: Source = source("train/matmul", include_str!("shaders/matmul.wgsl"));
const PRODUCT_F32: Source = source("train/product_f32", include_str!("shaders/product_f32.wgsl"));
const PRODUCT_WEIGHT: Source =
    source("train/product_weight", include_str!("shaders/product_weight.wgsl"));
const PRODUCT_BIAS: Source =
    source("train/product_bias", include_str!("shaders/product_bias.wgsl"));
const PRODUCT_GRAD: Source =
    source("train/product_grad", include_str!("shaders/product_grad.wgsl"));
const EMBEDDING: Source = source("train/embedding", include_str!("shaders/embedding.wgsl"));
const EMBEDDING_BACKWARD: Source =
    source("train/embedding_backward", include_str!("shaders/embedding_backward.wgsl"));
const LAYER_NORM: Source = source("train/layer_norm", include_str!("shaders/layer_norm.wgsl"));
const LAYER_NORM_BACKWARD: Source =
    source("train/layer_norm_backward", include_str!("shaders/layer_norm_backward.wgsl"));
const COLUMN_SUMS: Source = source("train/column_sums", include_str!("shaders/column_sums.wgsl"));
const GELU: Source = source("train/gelu", include_str!("shaders/gelu.wgsl"));
const GELU_BACKWARD: Source =
    source("train/gelu_backward", include_str!("shaders/gelu_backward.wgsl"));
const GELU_TANH: Source = source("train/gelu_tanh", include_str!("shaders/gelu_tanh.wgsl"));
const SOFTMAX: Source = source("train/softmax", include_str!("shaders/softmax.wgsl"));
const SOFTMAX_BACKWARD: Source =
    source("train/softmax_backward", include_str!("shaders/softmax_backward.wgsl"));

/// Elements of a side of `matmul.wgsl`'s tiles.
const SIDE: u32 = 64;

const fn source(path: &'static str, text: &'static str) -> Source {
    Source { path, text }
}

/// Weight and bias of a linear layer, or of a layer norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) weight: TensorId,
    pub(super) bias: TensorId,
    /// Rows of the weight: what a linear layer puts out.
    pub(super) outputs: u32,
    /// Its columns.
    pub(super) inputs: u32,
}

/// What layer norm gets and puts out, and the mean and reciprocal deviation of each row.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) x: Buffer,
    pub(super) y: Buffer,
    moments: Buffer,
}

/// Sizes of a product in elements, and where its matrices lie; as `matmul.wgsl` knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct Product {
    m: u32,
    n: u32,
    k: u32,
    scale: f32,
    a: Operand,
    b: Operand,
    c: Operand,
    heads: u32,
    padding: [u32; 3],
}

/// Where a matrix lies, in words of four elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Operand {
    offset: u32,
    stride: u32,
    head: u32,
    sequence: u32,
}

impl Operand {
    /// A matrix whose rows have so many elements, one after the other.
    fn rows(width: u32) -> Self {
        Self { offset: 0, stride: width.div_ceil(4), head: 0, sequence: 0 }
    }
}

/// Makes the kernels, and compiles each once, whatever it is bound to.
pub(super) struct Kernels<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) config: Config,
    pub(super) classes: u32,
    compiled: HashMap<String, ComputeKernel>,
}

impl<'a> Kernels<'a> {
    pub(super) fn new(context: &'a Context<'a>, config: Config, classes: u32) -> Self {
        Self { context, config, classes, compiled: HashMap::new() }
    }

    /// Sequences of a batch.
    fn sequences(&self) -> u32 {
        self.context.examples.batch_size
    }

    /// Rows of an activation.
    pub(super) fn rows(&self) -> u32 {
        self.sequences() * self.config.block_size
    }

    /// An activation of this width.
    pub(super) fn activation(&self, label: &str, width: u32) -> Buffer {
        scratch(self.context.gpu, label, self.rows() * width.next_multiple_of(4))
    }

    /// A number for each pair of positions, of each head of each sequence.
    pub(super) fn attention(&self, label: &str) -> Buffer {
        let Config { n_head, block_size, .. } = self.config;
        scratch(self.context.gpu, label, self.rows() * n_head * block_size)
    }

    fn kernel(
        &mut self,
        sources: &[Source],
        constants: &[(&str, f64)],
        bindings: &[Binding<'_>],
        workgroups: [u32; 3],
    ) -> Result<Kernel> {
        let (types, resources): (Vec<_>, Vec<_>) = bindings.iter().cloned().unzip();
        let paths: Vec<&str> = sources.iter().map(|source| source.path).collect();
        let key = format!("{paths:?} {constants:?}");
        let kernel = match self.compiled.get(&key) {
            Some(kernel) => kernel,
            None => {
                let label = sources[0].path;
                let gpu = self.context.gpu;
                let kernel = ComputeKernel::new(gpu, label, &join(sources), constants, &types)?;
                self.compiled.entry(key).or_insert(kernel)
            }
        };
        Kernel::bind(kernel, &types, &resources, workgroups)
    }

    fn product(
        &mut self,
        forms: (Source, &[Source]),
        constants: &[(&str, f64)],
        product: Product,
        bindings: &[Binding<'_>],
    ) -> Result<Kernel> {
        let bytes = bytemuck::bytes_of(&product);
        let buffer = filled(self.context.gpu, "train product", bytes, BufferUsages::UNIFORM);
        let bindings = [&[uniform(&buffer)], bindings].concat();
        let sources = [&[MATMUL, forms.0], forms.1].concat();
        let is_batched = product.a.sequence > 0;
        let batches = if is_batched { self.sequences() * product.heads } else { 1 };
        let grid = [product.n.div_ceil(SIDE), product.m.div_ceil(SIDE), batches];
        self.kernel(&sources, constants, &bindings, grid)
    }

    /// The first activation.
    pub(super) fn embedding(&mut self, wte: TensorId, wpe: TensorId, x: &Buffer) -> Result<Kernel> {
        let Context { examples, .. } = *self.context;
        let bindings = [
            examples.batches.binding(),
            read(examples.order.slice(..)),
            read(examples.labels.slice(..)),
            self.context.param(wte)?,
            self.context.param(wpe)?,
            write(x.slice(..)),
        ];
        let Config { n_embd, block_size, .. } = self.config;
        let constants = [("LENGTH", block_size.into()), ("WORDS", (n_embd / 4).into())];
        let sources = [&[EMBEDDING][..], &codec::param(self.context.param)?].concat();
        let (across, down) = tiles(n_embd / 4, self.rows());
        self.kernel(&sources, &constants, &bindings, [across, down, 1])
    }

    pub(super) fn embedding_backward(
        &mut self,
        wte: TensorId,
        wpe: TensorId,
        x_grad: &Buffer,
    ) -> Result<Kernel> {
        let Context { examples, .. } = *self.context;
        let bindings = [
            examples.batches.binding(),
            read(examples.order.slice(..)),
            read(examples.labels.slice(..)),
            read(x_grad.slice(..)),
            self.context.grad(wte)?,
            self.context.grad(wpe)?,
        ];
        let Config { n_embd, block_size, .. } = self.config;
        let constants = [
            ("CLASSES", self.classes.into()),
            ("LENGTH", block_size.into()),
            ("WORDS", (n_embd / 4).into()),
        ];
        let sources = [&[EMBEDDING_BACKWARD][..], &codec::grad(self.context.grad)?].concat();
        let (across, down) = tiles(n_embd / 4, self.classes + block_size);
        self.kernel(&sources, &constants, &bindings, [across, down, 1])
    }

    /// `y <- x weightᵀ + bias`, plus the residual if there is one.
    pub(super) fn linear(
        &mut self,
        affine: Affine,
        x: &Buffer,
        residual: Option<&Buffer>,
        y: &Buffer,
    ) -> Result<Kernel> {
        let bindings = [
            read(x.slice(..)),
            self.context.param(affine.weight)?,
            self.context.param(affine.bias)?,
            // Something must be bound.
            read(residual.unwrap_or(x).slice(..)),
            write(y.slice(..)),
        ];
        let product = self.forward(affine.inputs, affine.outputs);
        let constants = [("B_TRANSPOSED", 1.0), ("RESIDUAL", u8::from(residual.is_some()).into())];
        let codec = codec::param(self.context.param)?;
        self.product((PRODUCT_BIAS, &codec), &constants, product, &bindings)
    }

    /// `logits <- x weightᵀ`.
    pub(super) fn head(&mut self, weight: TensorId, x: &Buffer, y: &Buffer) -> Result<Kernel> {
        let bindings = [read(x.slice(..)), self.context.param(weight)?, write(y.slice(..))];
        let product = self.forward(self.config.n_embd, self.classes);
        let codec = codec::param(self.context.param)?;
        self.product((PRODUCT_WEIGHT, &codec), &[("B_TRANSPOSED", 1.0)], product, &bindings)
    }

    fn forward(&self, inputs: u32, outputs: u32) -> Product {
        let [a, b, c] = [inputs, inputs, outputs].map(Operand::rows);
        Product { m: self.rows(), n: outputs, k: inputs, scale: 1.0, a, b, c, ..one() }
    }

    /// The gradient of a linear layer's input: `x_grad <- y_grad weight`.
    pub(super) fn linear_input(
        &mut self,
        weight: TensorId,
        (outputs, inputs): (u32, u32),
        y_grad: &Buffer,
        x_grad: &Buffer,
    ) -> Result<Kernel> {
        let bindings =
            [read(y_grad.slice(..)), self.context.param(weight)?, write(x_grad.slice(..))];
        let [a, b, c] = [outputs, inputs, inputs].map(Operand::rows);
        let product =
            Product { m: self.rows(), n: inputs, k: outputs, scale: 1.0, a, b, c, ..one() };
        let codec = codec::param(self.context.param)?;
        self.product((PRODUCT_WEIGHT, &codec), &[], product, &bindings)
    }

    /// The gradient of its weight: `weight_grad <- y_gradᵀ x`.
    pub(super) fn linear_weight(
        &mut self,
        weight: TensorId,
        (outputs, inputs): (u32, u32),
        x: &Buffer,
        y_grad: &Buffer,
    ) -> Result<Kernel> {
        let bindings = [read(y_grad.slice(..)), read(x.slice(..)), self.context.grad(weight)?];
        let [a, b, c] = [outputs, inputs, inputs].map(Operand::rows);
        let product =
            Product { m: outputs, n: inputs, k: self.rows(), scale: 1.0, a, b, c, ..one() };
        let codec = codec::grad(self.context.grad)?;
        self.product((PRODUCT_GRAD, &codec), &[("A_TRANSPOSED", 1.0)], product, &bindings)
    }

    /// The gradient of a bias, or of what else has its terms in the rows.
    pub(super) fn column_sums(
        &mut self,
        id: TensorId,
        width: u32,
        terms: &Buffer,
    ) -> Result<Kernel> {
        let bindings = [read(terms.slice(..)), self.context.grad(id)?];
        let sources = [&[COLUMN_SUMS][..], &codec::grad(self.context.grad)?].concat();
        let words = width / 4;
        self.kernel(&sources, &[("WORDS", words.into())], &bindings, [words.div_ceil(4), 1, 1])
    }

    pub(super) fn norm(&mut self, affine: Affine, x: &Buffer) -> Result<(Norm, Kernel)> {
        let Config { n_embd, .. } = self.config;
        let moments = scratch(self.context.gpu, "train moments", 2 * self.rows());
        let norm = Norm { x: x.clone(), y: self.activation("train layer norm", n_embd), moments };
        let bindings = [
            read(x.slice(..)),
            self.context.param(affine.weight)?,
            self.context.param(affine.bias)?,
            write(norm.y.slice(..)),
            write(norm.moments.slice(..)),
        ];
        let sources = [&[LAYER_NORM][..], &codec::param(self.context.param)?].concat();
        let grid = [self.rows().div_ceil(64), 1, 1];
        let kernel = self.kernel(&sources, &[("WORDS", (n_embd / 4).into())], &bindings, grid)?;
        Ok((norm, kernel))
    }

    /// Writes or adds to the gradient of what layer norm got; `terms` are overwritten.
    pub(super) fn norm_backward(
        &mut self,
        affine: Affine,
        norm: &Norm,
        (y_grad, terms): (&Buffer, &Buffer),
        (x_grad, adds): (&Buffer, bool),
    ) -> Result<Vec<Kernel>> {
        let Config { n_embd, .. } = self.config;
        let bindings = [
            read(norm.x.slice(..)),
            read(y_grad.slice(..)),
            read(norm.moments.slice(..)),
            self.context.param(affine.weight)?,
            write(x_grad.slice(..)),
            write(terms.slice(..)),
        ];
        let sources = [&[LAYER_NORM_BACKWARD][..], &codec::param(self.context.param)?].concat();
        let constants = [("WORDS", (n_embd / 4).into()), ("ADDS", u8::from(adds).into())];
        let grid = [self.rows().div_ceil(64), 1, 1];
        Ok(vec![
            self.kernel(&sources, &constants, &bindings, grid)?,
            self.column_sums(affine.weight, n_embd, terms)?,
            self.column_sums(affine.bias, n_embd, y_grad)?,
        ])
    }

    pub(super) fn gelu(&mut self, x: &Buffer, y: &Buffer) -> Result<Kernel> {
        self.elementwise(GELU, [read(x.slice(..)), write(y.slice(..))])
    }

    /// From the gradient of what GELU put out to that of what it got, in its place.
    pub(super) fn gelu_backward(&mut self, x: &Buffer, grad: &Buffer) -> Result<Kernel> {
        self.elementwise(GELU_BACKWARD, [read(x.slice(..)), write(grad.slice(..))])
    }

    /// Over the words of an activation as wide as the inside of a block's perceptron.
    fn elementwise(&mut self, source: Source, bindings: [Binding<'_>; 2]) -> Result<Kernel> {
        let words = u64::from(self.rows()) * u64::from(self.config.n_embd);
        let grid = self.context.gpu.fold(words.div_ceil(64));
        let row_lanes = f64::from(grid[0]) * 64.0;
        self.kernel(&[source, GELU_TANH], &[("ROW_LANES", row_lanes)], &bindings, grid)
    }

    pub(super) fn softmax(&mut self, p: &Buffer) -> Result<Kernel> {
        self.over_pairs(SOFTMAX, &[write(p.slice(..))])
    }

    /// From the gradient of what softmax put out to that of what it got, in its place.
    pub(super) fn softmax_backward(&mut self, p: &Buffer, grad: &Buffer) -> Result<Kernel> {
        self.over_pairs(SOFTMAX_BACKWARD, &[read(p.slice(..)), write(grad.slice(..))])
    }

    fn over_pairs(&mut self, source: Source, bindings: &[Binding<'_>]) -> Result<Kernel> {
        let Config { n_head, block_size, .. } = self.config;
        let workgroups = (self.rows() * n_head).div_ceil(64);
        self.kernel(&[source], &[("LENGTH", block_size.into())], bindings, [workgroups, 1, 1])
    }

    /// A product for each head of each sequence: of two matrices over the positions, or of one of them with one over
    /// the pairs of positions.
    pub(super) fn heads(
        &mut self,
        [a, b, c]: [(&Buffer, Operand); 3],
        (m, n, k): (u32, u32, u32),
        (a_transposed, b_transposed): (bool, bool),
        scale: f32,
    ) -> Result<Kernel> {
        let heads = self.config.n_head;
        let product = Product { m, n, k, scale, a: a.1, b: b.1, c: c.1, heads, padding: [0; 3] };
        let constants = [
            ("A_TRANSPOSED", u8::from(a_transposed).into()),
            ("B_TRANSPOSED", u8::from(b_transposed).into()),
        ];
        let bindings = [read(a.0.slice(..)), read(b.0.slice(..)), write(c.0.slice(..))];
        self.product((PRODUCT_F32, &[]), &constants, product, &bindings)
    }

    /// Where each head's part of an activation lies that has these of all heads side by side, from a column on.
    pub(super) fn of_head(&self, first: u32, width: u32) -> Operand {
        let Config { n_head, n_embd, block_size, .. } = self.config;
        let (stride, head) = (width / 4, n_embd / n_head / 4);
        Operand { offset: first / 4, stride, head, sequence: block_size * stride }
    }

    /// Where each head's pairs of positions lie.
    pub(super) fn of_pairs(&self) -> Operand {
        let Config { n_head, block_size, .. } = self.config;
        let (stride, head) = (block_size / 4, block_size * block_size / 4);
        Operand { offset: 0, stride, head, sequence: n_head * head }
    }
}

/// A product that is no batch.
fn one() -> Product {
    let zero = Operand { offset: 0, stride: 0, head: 0, sequence: 0 };
    Product { m: 0, n: 0, k: 0, scale: 1.0, a: zero, b: zero, c: zero, heads: 1, padding: [0; 3] }
}
