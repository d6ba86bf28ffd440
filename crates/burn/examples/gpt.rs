//! A GPT of Burn's layers on the text of `fallline train --model gpt`, trained five times from the same weights on the same batches:
//! with Burn's AdamW and with fallline's, both once more with gradients clipped to a norm of all tensors together, and
//! with fallline's in 8 bits.
//!
//! `cargo run --release --example gpt -- [steps=200] [width=128] [layers=5] [batch=4] [svg=FILE] [csv=FILE] [data=FILE]`
//!
//! Fails if a loss in f32 differs by more than 1e-3 from Burn's. Whoever has no GPU waits: before its first step Burn tunes each
//! of its kernels for matrices, which takes minutes in software.

mod common;

use std::collections::HashMap;

use burn::{
    module::Module,
    nn::{
        Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
        attention::generate_autoregressive_mask,
        loss::CrossEntropyLossConfig,
        transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput},
    },
    optim::AdamWConfig,
    tensor::{Device, Int, Tensor, TensorData},
};
use common::{Args, Run, output};
use fallline_burn::{FusedConfig, fallline::StateFormat};

const CONTEXT: usize = 64;
const HEADS: usize = 4;
const LR: f64 = 1e-3;
const MAX_NORM: f32 = 1.0;
/// Losses in f32 are to be within this of Burn's.
const TOLERANCE: f64 = 1e-3;

#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(classes: usize, width: usize, layers: usize, device: &Device) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
        let embedding = |rows: usize| {
            EmbeddingConfig::new(rows, width).with_initializer(normal.clone()).init(device)
        };
        let blocks = TransformerEncoderConfig::new(width, 4 * width, HEADS, layers)
            .with_dropout(0.0)
            .with_norm_first(true)
            .with_initializer(normal.clone());
        let head = LinearConfig::new(width, classes).with_bias(false);
        Self {
            tokens: embedding(classes),
            positions: embedding(CONTEXT),
            blocks: blocks.init(device),
            norm: LayerNormConfig::new(width).init(device),
            head: head.with_initializer(normal.clone()).init(device),
        }
    }

    fn loss(&self, Batch { tokens, next }: &Batch) -> Tensor<1> {
        let device = tokens.device();
        let [rows, length] = tokens.dims();
        let positions = Tensor::arange(0..length as i64, &device).unsqueeze();
        let embedded = self.tokens.forward(tokens.clone()) + self.positions.forward(positions);
        let mask = generate_autoregressive_mask(rows, length, &device);
        let input = TransformerEncoderInput::new(embedded).mask_attn(mask);
        let logits = self.head.forward(self.norm.forward(self.blocks.forward(input)));
        let logits = logits.flatten::<2>(0, 1);
        CrossEntropyLossConfig::new().init(&device).forward(logits, next.clone())
    }
}

/// Sequences of tokens, and after each token the next.
struct Batch {
    tokens: Tensor<2, Int>,
    next: Tensor<1, Int>,
}

impl Batch {
    fn nth(text: &[i32], step: usize, rows: usize, device: &Device) -> Self {
        let starts = (0..rows).map(|row| (step * rows + row) * 7919 % (text.len() - CONTEXT));
        let sequences = |shift: usize| {
            let sequences = starts.clone().flat_map(|start| &text[start + shift..][..CONTEXT]);
            sequences.copied().collect::<Vec<i32>>()
        };
        Self {
            tokens: Tensor::from_data(TensorData::new(sequences(0), [rows, CONTEXT]), device),
            next: Tensor::from_data(TensorData::new(sequences(1), [rows * CONTEXT]), device),
        }
    }
}

/// Its characters as numbers, and how many of them there are.
fn tokens(text: &str) -> (Vec<i32>, usize) {
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let numbered: HashMap<char, i32> = characters.into_iter().zip(0..).collect();
    (text.chars().map(|c| numbered[&c]).collect(), numbered.len())
}

fn main() -> common::Result {
    let args = Args::of(&["steps", "width", "layers", "batch", "svg", "csv", "data"])?;
    let (steps, rows) = (args.number("steps", 200)?, args.number("batch", 4)?);
    let (width, layers) = (args.number("width", 128)?, args.number("layers", 5)?);
    let (text, classes) = tokens(&common::data(&args, "shakespeare.txt")?);
    if text.len() <= CONTEXT {
        return Err(format!("a text of more than {CONTEXT} characters is needed").into());
    }
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    let device = device.autodiff();
    device.seed(0);

    let gpt = Gpt::new(classes, width, layers, &device);
    let caption = format!(
        "Shakespeare by characters, GPT of {layers} layers, {HEADS} heads, width {width}, {} parameters, \
         batches of {rows} x {CONTEXT}, on {}",
        gpt.num_params(),
        setup.adapter.get_info().name
    );
    println!("{caption}");
    let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.1);
    let ours = FusedConfig::try_from(adamw.clone())?;
    let clipped = ours.clone().with_max_norm(MAX_NORM.into());
    let int8 = clipped.clone().with_state(StateFormat::Int8);
    let clipped = clipped.init(&setup)?;
    let mut runs = vec![
        Run::burns("Burn's AdamW", &gpt, adamw.init(), None),
        Run::fused("fallline", &gpt, ours.init(&setup)?).beside(0),
        Run::burns("Burn's AdamW, clipped", &gpt, adamw.init(), Some(MAX_NORM)),
        Run::fused("fallline, clipped", &gpt, clipped.clone()).beside(2),
        Run::fused("fallline, clipped, 8-bit state", &gpt, int8.init(&setup)?).beside(2),
    ];
    let in_f32 = [1, 3];
    let mut reports = Vec::new();
    for step in 0..steps {
        let batch = Batch::nth(&text, step, rows, &device);
        let lr = LR * rate(step, steps);
        let stepped = runs.into_iter().map(|run| run.step(lr, |gpt| gpt.loss(&batch)));
        runs = stepped.collect::<common::Result<_>>()?;
        reports.extend(clipped.reports()?);
        if step % 10 == 9 || step == 0 {
            let losses: Vec<String> =
                runs.iter().map(|run| format!("{:.6}", run.losses[step])).collect();
            println!("step {:>4}  {}", step + 1, losses.join("  "));
        }
    }
    reports.extend(clipped.wait_reports()?);
    runs.iter().for_each(Run::print);
    let clips = reports.iter().filter(|report| report.clip_factor < 1.0).count();
    println!("{clips} of {} steps were clipped", reports.len());
    common::print_differences(&runs);
    output::write(&args, &caption, &runs)?;
    let follows = |run: usize| {
        runs[run].beside.is_none_or(|burns| runs[run].differs(&runs[burns]) <= TOLERANCE)
    };
    let is_alike = in_f32.into_iter().all(follows);
    // Burn's device thread does not always survive the end of `main`.
    std::process::exit(i32::from(!is_alike));
}

/// A warmup of a tenth, then a half of a cosine.
fn rate(step: usize, steps: usize) -> f64 {
    let done = step as f64 / steps as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
    cosine.min((step + 1) as f64 / (0.1 * steps as f64))
}
