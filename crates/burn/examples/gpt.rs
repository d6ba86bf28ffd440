//! A small GPT of Burn's layers, trained on text with fallline and with Burn's AdamW, from the same weights on the same
//! batches.
//!
//! `cargo run --example gpt -- TEXT [steps=100] [width=64] [layers=2]`
//!
//! Whoever has no GPU waits: before its first step Burn tunes each of its kernels for matrices, which takes minutes in
//! software.

use std::time::Instant;

use burn::{
    module::{Module, ModuleMapper, Param},
    nn::{
        Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
        attention::generate_autoregressive_mask,
        loss::CrossEntropyLossConfig,
        transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput},
    },
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData},
};
use fallline_burn::FusedConfig;

const CONTEXT: usize = 64;
const BATCH: usize = 8;

#[derive(Module, Debug)]
struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(width: usize, layers: usize, device: &Device) -> Self {
        let blocks = TransformerEncoderConfig::new(width, 4 * width, 4, layers);
        Self {
            tokens: EmbeddingConfig::new(256, width).init(device),
            positions: EmbeddingConfig::new(CONTEXT, width).init(device),
            blocks: blocks.with_dropout(0.0).with_norm_first(true).init(device),
            norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, 256).with_bias(false).init(device),
        }
    }

    fn loss(&self, (tokens, next): &(Tensor<2, Int>, Tensor<1, Int>)) -> Tensor<1> {
        let device = tokens.device();
        let positions: Vec<i32> = (0..).take(CONTEXT).collect();
        let positions = Tensor::from_data(TensorData::new(positions, [1, CONTEXT]), &device);
        let embedded = self.tokens.forward(tokens.clone()) + self.positions.forward(positions);
        let mask = generate_autoregressive_mask(BATCH, CONTEXT, &device);
        let input = TransformerEncoderInput::new(embedded).mask_attn(mask);
        let hidden = self.norm.forward(self.blocks.forward(input));
        let logits = self.head.forward(hidden).reshape([BATCH * CONTEXT, 256]);
        CrossEntropyLossConfig::new().init(&device).forward(logits, next.clone())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let given = args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='));
        given.map_or(Ok(default), str::parse)
    };
    let (steps, width, layers) =
        (number("steps", 100)?, number("width", 64)?, number("layers", 2)?);
    let text = std::fs::read(args.first().ok_or("which text?")?)?;
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    let device = device.autodiff();

    let config = AdamWConfig::new().with_weight_decay(0.01);
    let fused = FusedConfig::try_from(config.clone())?.init(&setup)?;
    let mut ours = Gpt::new(width, layers, &device);
    // What a clone shares, a step in place would change for both.
    let mut theirs = copied(&ours);
    let mut optim = ModuleOptimizer::from(fused.clone());
    let mut burns = config.init();
    println!("{} parameters", ours.num_params());
    let (mut ours_took, mut theirs_took, mut worst) = (0.0, 0.0, 0f32);
    for step in 0..steps {
        let batch = batch(&text, step, &device);
        let lr = 1e-3;
        let loss = ours.loss(&batch);
        let grads = GradientsParams::from_grads(loss.backward(), &ours);
        device.sync()?;
        let start = Instant::now();
        ours = fused.step(&mut optim, lr, ours, grads);
        device.sync()?;
        let took = start.elapsed().as_secs_f64();
        let our_loss = loss.into_scalar::<f32>();

        let loss = theirs.loss(&batch);
        let grads = GradientsParams::from_grads(loss.backward(), &theirs);
        device.sync()?;
        let start = Instant::now();
        theirs = burns.step(lr, theirs, grads);
        device.sync()?;
        let burn_took = start.elapsed().as_secs_f64();
        let their_loss = loss.into_scalar::<f32>();
        worst = worst.max((our_loss - their_loss).abs());
        if step > 0 {
            // The first one builds kernels.
            (ours_took, theirs_took) = (ours_took + took, theirs_took + burn_took);
        }
        if step % 10 == 9 || step == 0 {
            println!("step {:>4}  fallline {our_loss:.6}  Burn {their_loss:.6}", step + 1);
        }
    }
    let each = |took: f64| 1e3 * took / steps.saturating_sub(1).max(1) as f64;
    println!(
        "a step takes {:.2} ms with fallline, {:.2} ms with Burn's AdamW",
        each(ours_took),
        each(theirs_took)
    );
    println!("losses differ by up to {worst:.1e}");
    // Burn's device thread does not always survive the end of `main`.
    std::process::exit(0);
}

/// Bytes of the text, and those that come next.
fn batch(text: &[u8], step: usize, device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let begins = (0..BATCH).map(|row| (step * BATCH + row) * 7919 % (text.len() - CONTEXT - 1));
    let (mut tokens, mut next) = (Vec::new(), Vec::new());
    for begin in begins {
        tokens.extend(text[begin..begin + CONTEXT].iter().map(|byte| i32::from(*byte)));
        next.extend(text[begin + 1..begin + CONTEXT + 1].iter().map(|byte| i32::from(*byte)));
    }
    (
        Tensor::from_data(TensorData::new(tokens, [BATCH, CONTEXT]), device),
        Tensor::from_data(TensorData::new(next, [BATCH * CONTEXT]), device),
    )
}

/// The same values in memory of their own.
fn copied(model: &Gpt) -> Gpt {
    struct Copy;
    impl ModuleMapper for Copy {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let copy = Tensor::from_data(tensor.to_data(), &tensor.device()).require_grad();
            Param::from_mapped_value(id, copy, mapper)
        }
    }
    model.clone().map(&mut Copy)
}
