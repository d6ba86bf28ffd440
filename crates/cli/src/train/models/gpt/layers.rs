//! Forward and backward through all blocks.
//!
//! ```text
//! x = wte[token] + wpe[t]
//! each block:  x += c_proj(attention(c_attn(ln_1(x))));  x += c_proj(gelu(c_fc(ln_2(x))))
//! logits = lm_head(ln_f(x))
//! ```

use anyhow::{Context as _, Result};
use fallline::TensorId;
use fallline::wgpu::Buffer;

use super::{
    Config, Gpt,
    kernels::{Affine, Kernels, Norm},
};
use crate::train::models::{Context, Layers, kernel::Kernel};

/// Call it inside of [`Gpu::checked`](fallline::Gpu::checked).
pub(super) fn layers(model: &Gpt, context: &Context<'_>) -> Result<Layers> {
    let config = model.config;
    let mut kernels = Kernels::new(context, config, model.text.classes());
    let k = &mut kernels;
    let id = |name: &str| {
        context.optimizer.id(name).with_context(|| format!("the model has no tensor {name}"))
    };
    let (wte, wpe, head) = (id("wte.weight")?, id("wpe.weight")?, id("lm_head.weight")?);
    let (classes, n_embd) = (model.text.classes(), config.n_embd);

    let mut x = k.activation("train embedding", n_embd);
    let mut forward = vec![k.embedding(wte, wpe, &x)?];
    let mut blocks = Vec::new();
    for block in 0..config.n_layer {
        let block = Block::forward(k, block, &x, &mut forward)?;
        x = block.y.clone();
        blocks.push(block);
    }
    let ln_f = affine(context, "ln_f", n_embd, n_embd)?;
    let (norm, kernel) = k.norm(ln_f, &x)?;
    forward.push(kernel);
    let logits = k.activation("train logits", classes);
    forward.push(k.head(head, &norm.y, &logits)?);

    let logits_grad = k.activation("train logits gradient", classes);
    let grads = Grads::new(k);
    let shape = (classes, n_embd);
    let mut backward = vec![
        k.linear_weight(head, shape, &norm.y, &logits_grad)?,
        k.linear_input(head, shape, &logits_grad, &grads.narrow)?,
    ];
    let narrow = (&grads.narrow, &grads.terms);
    backward.extend(k.norm_backward(ln_f, &norm, narrow, (&grads.x, false))?);
    for block in blocks.iter().rev() {
        block.backward(k, &grads, &mut backward)?;
    }
    backward.push(k.embedding_backward(wte, wpe, &grads.x)?);
    let stride = classes.next_multiple_of(4);
    Ok(Layers { forward, backward, logits, logits_grad, stride })
}

fn affine(context: &Context<'_>, name: &str, outputs: u32, inputs: u32) -> Result<Affine> {
    let id = |part: &str| -> Result<TensorId> {
        let name = format!("{name}.{part}");
        context.optimizer.id(&name).with_context(|| format!("the model has no tensor {name}"))
    };
    Ok(Affine { weight: id("weight")?, bias: id("bias")?, outputs, inputs })
}

/// Gradients of activations, which all blocks share.
struct Grads {
    /// Of the residual stream.
    x: Buffer,
    /// As wide as that.
    narrow: Buffer,
    /// Terms of a layer norm's weight.
    terms: Buffer,
    /// Of queries, keys and values.
    qkv: Buffer,
    /// As wide as the inside of a multilayer perceptron.
    wide: Buffer,
    /// Of the pairs of positions.
    pairs: Buffer,
}

impl Grads {
    fn new(k: &Kernels<'_>) -> Self {
        let width = k.config.n_embd;
        Self {
            x: k.activation("train residual gradient", width),
            narrow: k.activation("train layer gradient", width),
            terms: k.activation("train layer norm terms", width),
            qkv: k.activation("train attention gradient", 3 * width),
            wide: k.activation("train perceptron gradient", 4 * width),
            pairs: k.attention("train pairs gradient"),
        }
    }
}

/// What the way back through a block needs of the way forward.
struct Block {
    ln_1: Affine,
    c_attn: Affine,
    attn_c_proj: Affine,
    ln_2: Affine,
    c_fc: Affine,
    mlp_c_proj: Affine,
    norm_1: Norm,
    qkv: Buffer,
    /// How much each position attends to each.
    pairs: Buffer,
    heads: Buffer,
    norm_2: Norm,
    /// Before and after GELU.
    inner: Buffer,
    activated: Buffer,
    y: Buffer,
}

impl Block {
    fn forward(
        k: &mut Kernels<'_>,
        block: u32,
        x: &Buffer,
        kernels: &mut Vec<Kernel>,
    ) -> Result<Self> {
        let width = k.config.n_embd;
        let context = k.context;
        let affine = |part: &str, outputs, inputs| {
            affine(context, &format!("h.{block}.{part}"), outputs, inputs)
        };
        let ln_1 = affine("ln_1", width, width)?;
        let c_attn = affine("attn.c_attn", 3 * width, width)?;
        let attn_c_proj = affine("attn.c_proj", width, width)?;
        let ln_2 = affine("ln_2", width, width)?;
        let c_fc = affine("mlp.c_fc", 4 * width, width)?;
        let mlp_c_proj = affine("mlp.c_proj", width, 4 * width)?;

        let (norm_1, kernel) = k.norm(ln_1, x)?;
        kernels.push(kernel);
        let qkv = k.activation("train queries, keys, values", 3 * width);
        kernels.push(k.linear(c_attn, &norm_1.y, None, &qkv)?);
        let pairs = k.attention("train pairs");
        let heads = k.activation("train heads", width);
        kernels.extend(attention(k, &qkv, &pairs, &heads)?);
        let middle = k.activation("train residual", width);
        kernels.push(k.linear(attn_c_proj, &heads, Some(x), &middle)?);

        let (norm_2, kernel) = k.norm(ln_2, &middle)?;
        kernels.push(kernel);
        let [inner, activated] = [(); 2].map(|()| k.activation("train perceptron", 4 * width));
        kernels.push(k.linear(c_fc, &norm_2.y, None, &inner)?);
        kernels.push(k.gelu(&inner, &activated)?);
        let y = k.activation("train residual", width);
        kernels.push(k.linear(mlp_c_proj, &activated, Some(&middle), &y)?);
        Ok(Self {
            ln_1,
            c_attn,
            attn_c_proj,
            ln_2,
            c_fc,
            mlp_c_proj,
            norm_1,
            qkv,
            pairs,
            heads,
            norm_2,
            inner,
            activated,
            y,
        })
    }

    /// From the gradient of the residual stream behind the block to that before it, in its place.
    fn backward(
        &self,
        k: &mut Kernels<'_>,
        grads: &Grads,
        kernels: &mut Vec<Kernel>,
    ) -> Result<()> {
        let Grads { x, narrow, terms, qkv, wide, pairs } = grads;
        kernels.extend(linear_backward(k, self.mlp_c_proj, &self.activated, x, wide)?);
        kernels.push(k.gelu_backward(&self.inner, wide)?);
        kernels.extend(linear_backward(k, self.c_fc, &self.norm_2.y, wide, narrow)?);
        kernels.extend(k.norm_backward(self.ln_2, &self.norm_2, (narrow, terms), (x, true))?);

        kernels.extend(linear_backward(k, self.attn_c_proj, &self.heads, x, narrow)?);
        kernels.extend(attention_backward(k, (&self.qkv, &self.pairs), narrow, pairs, qkv)?);
        kernels.extend(linear_backward(k, self.c_attn, &self.norm_1.y, qkv, narrow)?);
        kernels.extend(k.norm_backward(self.ln_1, &self.norm_1, (narrow, terms), (x, true))?);
        Ok(())
    }
}

/// Gradients of weight, bias and input.
fn linear_backward(
    k: &mut Kernels<'_>,
    Affine { weight, bias, outputs, inputs }: Affine,
    x: &Buffer,
    y_grad: &Buffer,
    x_grad: &Buffer,
) -> Result<[Kernel; 3]> {
    Ok([
        k.linear_weight(weight, (outputs, inputs), x, y_grad)?,
        k.column_sums(bias, outputs, y_grad)?,
        k.linear_input(weight, (outputs, inputs), y_grad, x_grad)?,
    ])
}

/// `pairs <- softmax(q kᵀ / sqrt(d))`, `heads <- pairs v`, with d the width of a head.
fn attention(
    k: &mut Kernels<'_>,
    qkv: &Buffer,
    pairs: &Buffer,
    heads: &Buffer,
) -> Result<[Kernel; 3]> {
    let Config { n_head, n_embd, block_size, .. } = k.config;
    let (width, length) = (n_embd / n_head, block_size);
    let [queries, keys, values] = [0, 1, 2].map(|part| k.of_head(part * n_embd, 3 * n_embd));
    let (of_pairs, of_heads) = (k.of_pairs(), k.of_head(0, n_embd));
    let scale = 1.0 / (width as f32).sqrt();
    let scores = [(qkv, queries), (qkv, keys), (pairs, of_pairs)];
    let mixed = [(pairs, of_pairs), (qkv, values), (heads, of_heads)];
    Ok([
        k.heads(scores, (length, length, width), (false, true), scale)?,
        k.softmax(pairs)?,
        k.heads(mixed, (length, width, length), (false, false), 1.0)?,
    ])
}

/// From the gradient of `heads` to that of `qkv`, by that of `pairs`.
fn attention_backward(
    k: &mut Kernels<'_>,
    (qkv, pairs): (&Buffer, &Buffer),
    heads_grad: &Buffer,
    pairs_grad: &Buffer,
    qkv_grad: &Buffer,
) -> Result<[Kernel; 5]> {
    let Config { n_head, n_embd, block_size, .. } = k.config;
    let (width, length) = (n_embd / n_head, block_size);
    let [queries, keys, values] = [0, 1, 2].map(|part| k.of_head(part * n_embd, 3 * n_embd));
    let (of_pairs, of_heads) = (k.of_pairs(), k.of_head(0, n_embd));
    let scale = 1.0 / (width as f32).sqrt();
    let to_pairs = [(heads_grad, of_heads), (qkv, values), (pairs_grad, of_pairs)];
    let to_values = [(pairs, of_pairs), (heads_grad, of_heads), (qkv_grad, values)];
    let to_queries = [(pairs_grad, of_pairs), (qkv, keys), (qkv_grad, queries)];
    let to_keys = [(pairs_grad, of_pairs), (qkv, queries), (qkv_grad, keys)];
    Ok([
        k.heads(to_pairs, (length, length, width), (false, true), 1.0)?,
        k.heads(to_values, (length, width, length), (true, false), 1.0)?,
        k.softmax_backward(pairs, pairs_grad)?,
        k.heads(to_queries, (length, width, length), (false, false), scale)?,
        k.heads(to_keys, (length, width, length), (true, false), scale)?,
    ])
}
