//! The kernels against a computation on the CPU in f64: losses, and gradients by finite differences.

use std::collections::HashMap;

use fallline::{Dtype, Gpu, GpuOptions, Group, Optimizer, Sgd};

use super::{Config, Course, Gpt, text::Text};
use crate::{
    precision::{LossScale, Numerics},
    train::{
        models::{GROUPS, Model, Network, encoder},
        random::Random,
    },
};

/// Values by the names of the tensors.
type Params = HashMap<String, Vec<f64>>;
/// A row for each position.
type Rows = Vec<Vec<f64>>;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &Rows, b: &Rows) -> Rows {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    a.iter().zip(b).map(row).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score.exp() / sum).collect()
}

fn gelu(x: f64) -> f64 {
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * x * (1.0 + (scale * (x + 0.044715 * x.powi(3))).tanh())
}

/// The model in f64, one sequence at a time.
struct Twin<'a> {
    config: Config,
    params: &'a Params,
}

impl Twin<'_> {
    fn param(&self, name: &str) -> &[f64] {
        &self.params[name]
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let weight = self.param(&format!("{name}.weight"));
        let bias = self.params.get(&format!("{name}.bias"));
        let of_row = |x: &Vec<f64>| {
            let outputs = weight.chunks_exact(x.len()).map(|row| dot(row, x)).enumerate();
            outputs.map(|(o, sum)| sum + bias.map_or(0.0, |bias| bias[o])).collect()
        };
        x.iter().map(of_row).collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) =
            (self.param(&format!("{name}.weight")), self.param(&format!("{name}.bias")));
        let of_row = |x: &Vec<f64>| {
            let width = x.len() as f64;
            let mean = x.iter().sum::<f64>() / width;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
            let normal = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt());
            normal
                .zip(weight.iter().zip(bias))
                .map(|(x, (weight, bias))| x * weight + bias)
                .collect()
        };
        x.iter().map(of_row).collect()
    }

    fn attention(&self, qkv: &Rows) -> Rows {
        let Config { n_head, n_embd, .. } = self.config;
        let (width, all) = ((n_embd / n_head) as usize, n_embd as usize);
        let of_position = |t: usize| {
            let of_head = |head: usize| {
                let part = |s: usize, part: usize| {
                    let first = part * all + head * width;
                    &qkv[s][first..first + width]
                };
                let scale = (width as f64).sqrt();
                let scores: Vec<f64> =
                    (0..=t).map(|s| dot(part(t, 0), part(s, 1)) / scale).collect();
                let weights = softmax(&scores);
                let value = move |c: usize| {
                    weights.iter().enumerate().map(|(s, weight)| weight * part(s, 2)[c]).sum()
                };
                (0..width).map(value).collect::<Vec<f64>>()
            };
            (0..n_head as usize).flat_map(of_head).collect()
        };
        (0..qkv.len()).map(of_position).collect()
    }

    /// The sum of the losses of a sequence, each token's label being the next.
    fn loss(&self, tokens: &[u32]) -> f64 {
        let (inputs, labels) = (&tokens[..tokens.len() - 1], &tokens[1..]);
        let width = self.config.n_embd as usize;
        let row =
            |name: &str, row: usize| self.param(name)[row * width..(row + 1) * width].to_vec();
        let tokens: Rows = inputs.iter().map(|token| row("wte.weight", *token as usize)).collect();
        let positions: Rows = (0..inputs.len()).map(|t| row("wpe.weight", t)).collect();
        let mut x = add(&tokens, &positions);
        for block in 0..self.config.n_layer {
            let name = |part: &str| format!("h.{block}.{part}");
            let qkv = self.linear(&name("attn.c_attn"), &self.norm(&name("ln_1"), &x));
            x = add(&x, &self.linear(&name("attn.c_proj"), &self.attention(&qkv)));
            let mut inner = self.linear(&name("mlp.c_fc"), &self.norm(&name("ln_2"), &x));
            inner.iter_mut().flatten().for_each(|x| *x = gelu(*x));
            x = add(&x, &self.linear(&name("mlp.c_proj"), &inner));
        }
        let logits = self.linear("lm_head", &self.norm("ln_f", &x));
        let loss = |(logits, label): (&Vec<f64>, &u32)| -softmax(logits)[*label as usize].ln();
        logits.iter().zip(labels).map(loss).sum()
    }

    /// The mean over some sequences.
    fn mean(&self, text: &Text, order: &[u32]) -> f64 {
        let length = self.config.block_size as usize;
        let sequence = |start: &u32| &text.tokens[*start as usize..*start as usize + length + 1];
        let sum: f64 = order.iter().map(|start| self.loss(sequence(start))).sum();
        sum / (order.len() * length) as f64
    }
}

#[test]
fn kernels_agree_with_finite_differences() -> anyhow::Result<()> {
    // With no more than WebGPU's default limits: so the kernels run everywhere.
    let limits = Some(fallline::wgpu::Limits::default());
    let gpu = Gpu::open(&GpuOptions { limits, ..GpuOptions::from_env()? })?;
    let small = Config { n_layer: 2, n_head: 2, n_embd: 8, block_size: 8 };
    for (param, grad, loss_scale) in [
        (Dtype::F32, Dtype::F32, LossScale::None),
        (Dtype::F16, Dtype::F16, LossScale::Fixed(1024.0)),
        (Dtype::Bf16, Dtype::F32, LossScale::Fixed(1e5)),
    ] {
        let numerics = Numerics { param, grad, loss_scale, ..Numerics::default() };
        check(&gpu, small, 3, 40, &numerics)?;
    }
    // More than one tile of every product, and parts of tiles.
    let wide = Config { n_layer: 1, n_head: 3, n_embd: 36, block_size: 76 };
    check(&gpu, wide, 2, 12, &Numerics::default())
}

/// Compares at most `elems` elements of each tensor.
fn check(
    gpu: &Gpu,
    config: Config,
    batch_size: u32,
    elems: usize,
    numerics: &Numerics,
) -> anyhow::Result<()> {
    let text =
        Text::new(&"Nine tailors make a man, they say; and one of them was mine. ".repeat(30));
    let course = Course { batch_size, steps: 2, eval_interval: 2, ..Course::default() };
    let model = Gpt { config, course, text };
    let options = numerics.options(gpu, 0)?;
    let tensors: Vec<_> = model.tensors().into_iter().map(|spec| numerics.spec(spec)).collect();
    let groups = GROUPS.map(|name| Group::new(name, Sgd::default()));
    let optimizer = Optimizer::arena_with(gpu, &groups, &tensors, &options)?;
    let mut random = Random::new(5);
    let tensors: Vec<_> = optimizer.tensors().map(|(id, spec)| (id, spec.clone())).collect();
    let mut before = Params::new();
    for (id, spec) in &tensors {
        let mean =
            if spec.name.contains("ln_") && spec.name.ends_with("weight") { 1.0 } else { 0.0 };
        let value = |_| mean + 0.4 * random.signed_unit();
        let values: Vec<f32> = (0..spec.len_elems()?).map(value).collect();
        optimizer.write_param(*id, &values)?;
        let values = optimizer.read_param(*id)?.into_iter().map(f64::from).collect();
        before.insert(spec.name.clone(), values);
    }

    let mut network = Network::new(&optimizer, &model, options.loss_scaler.as_ref())?;
    let mut order = model.order(&mut random);
    model.next_round(&mut order, &mut random);
    network.write_round(&order, 2);
    let mut encoder = encoder(gpu);
    network.encode_forward(&mut encoder, 0);
    network.encode_backward(&mut encoder, 1);
    for test in 2..10 {
        network.encode_forward(&mut encoder, test);
    }
    let scores = network.scores(encoder)?;
    let batches: Vec<&[u32]> = order.chunks_exact(batch_size as usize).collect();
    let twin = Twin { config, params: &before };
    for (score, order) in [
        (scores.steps[0], batches[0]),
        (scores.steps[1], batches[1]),
        (scores.test, &order[2 * batch_size as usize..]),
    ] {
        let expected = twin.mean(&model.text, order);
        let close = (score.loss - expected).abs() < 2e-6 * expected;
        assert!(close, "{numerics}: {}, {expected}", score.loss);
    }

    let scaler = options.loss_scaler.as_ref();
    let scale = scaler.map_or(Ok(1.0), |scaler| scaler.read().map(|(scale, _)| scale))?;
    // Half a unit in the last place of the gradients' format.
    let rounding = if numerics.grad == Dtype::F16 { 2f64.powi(-11) } else { 0.0 };
    let mut params = before.clone();
    for (id, spec) in &tensors {
        let (name, grad) = (&spec.name, optimizer.read_grad(*id)?);
        let mut largest = 0f64;
        for index in (0..grad.len()).step_by(grad.len().div_ceil(elems)) {
            let mut loss_at = |step: f64| {
                params.get_mut(name).expect("a tensor")[index] = before[name][index] + step;
                Twin { config, params: &params }.mean(&model.text, batches[1])
            };
            let expected = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6;
            loss_at(0.0);
            let found = f64::from(grad[index]) / f64::from(scale);
            let most = 1e-6 + rounding * expected.abs();
            assert!(
                (found - expected).abs() < most,
                "{numerics}: {name}[{index}]: {found}, {expected}"
            );
            largest = largest.max(expected.abs());
        }
        assert!(largest > 1e-4, "{name}: no gradient to speak of, {largest}");
    }
    Ok(())
}
