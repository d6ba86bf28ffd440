//! The kernels against a computation on the CPU in f64: loss, hits, and each gradient by finite
//! differences, in every format and with the loss scaled.

use std::ops::Range;

use fallline::{Dtype, Gpu, GpuOptions, Group, Optimizer, Sgd};

use super::{
    Perceptron, Places, Shape,
    data::{self, Digits, split},
};
use crate::{
    precision::{LossScale, Numerics},
    train::{
        models::{GROUPS, Model, Network, encoder, kernel::Batch, tally::Score},
        random::Random,
    },
};

/// Images in use, those of them to train with, and those whose gradient is taken: neither the
/// first nor the last.
const LEN: usize = 150;
const TRAIN: Range<usize> = 0..100;
const BATCH: Range<usize> = 2..11;
const PIXELS: usize = data::PIXELS as usize;

/// Weights and biases by tensor.
type Params = Vec<Vec<f64>>;

fn logits(shape: &Shape, params: &Params, image: &[f32]) -> Vec<f64> {
    let mut values: Vec<f64> = image.iter().map(|pixel| f64::from(*pixel)).collect();
    let layers = params.chunks_exact(2).len();
    for (layer, ((inputs, _), tensors)) in
        shape.layers().into_iter().zip(params.chunks_exact(2)).enumerate()
    {
        let rows = tensors[0].chunks_exact(inputs as usize).zip(&tensors[1]);
        let linear = |(row, bias): (&[f64], &f64)| {
            bias + row.iter().zip(&values).map(|(weight, value)| weight * value).sum::<f64>()
        };
        let outputs: Vec<f64> = rows.map(linear).collect();
        let last = layer + 1 == layers;
        values = outputs.into_iter().map(|v| if last { v } else { v.max(0.0) }).collect();
    }
    values
}

/// Sum of the losses, and how often the largest logit is the label's.
fn total(shape: &Shape, params: &Params, digits: &Digits, order: &[u32]) -> (f64, u32) {
    let (mut loss, mut hits) = (0.0, 0);
    for &image in order {
        let at = image as usize;
        let logits = logits(shape, params, &digits.pixels[at * PIXELS..(at + 1) * PIXELS]);
        let label = digits.labels[at] as usize;
        loss += logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label];
        hits += u32::from(logits.iter().all(|logit| *logit <= logits[label]));
    }
    (loss, hits)
}

#[test]
fn kernels_agree_with_finite_differences() -> anyhow::Result<()> {
    // With no more than WebGPU's default limits: so the kernels run everywhere.
    let limits = Some(fallline::wgpu::Limits::default());
    let gpu = Gpu::open(&GpuOptions { limits, ..GpuOptions::from_env()? })?;
    for (param, grad, loss_scale) in [
        (Dtype::F32, Dtype::F32, LossScale::None),
        (Dtype::F32, Dtype::F32, LossScale::Fixed(1e5)),
        (Dtype::F16, Dtype::F16, LossScale::Fixed(1024.0)),
        (Dtype::Bf16, Dtype::Bf16, LossScale::Fixed(3e30)),
        (Dtype::F16, Dtype::Bf16, LossScale::None),
        (Dtype::Bf16, Dtype::F16, LossScale::Fixed(0.25)),
    ] {
        let numerics = Numerics { param, grad, loss_scale, ..Numerics::default() };
        check(&gpu, &numerics)?;
    }
    Ok(())
}

fn check(gpu: &Gpu, numerics: &Numerics) -> anyhow::Result<()> {
    let mut digits = Digits::load()?;
    digits.pixels.truncate(LEN * PIXELS);
    digits.labels.truncate(LEN);

    // More images than the tally has lanes; the batch that goes back lies between two others.
    let batch = |(start, rows)| Batch { start, rows };
    let train = [(0, 2), (2, 9), (11, 89)].map(batch).to_vec();
    let places = Places { train, test: vec![batch((100, 50))] };
    let shape = Shape(vec![64, 12, 8, 10]);
    let model = Perceptron { shape, digits, epochs: 1, batch_size: 89, places };
    let Perceptron { shape, digits, .. } = &model;

    let groups = GROUPS.map(|name| Group::new(name, Sgd::default()));
    let options = numerics.options(gpu, 0)?;
    let tensors: Vec<_> = model.tensors().into_iter().map(|spec| numerics.spec(spec)).collect();
    let optimizer = Optimizer::arena_with(gpu, &groups, &tensors, &options)?;
    let mut random = Random::new(5);
    model.init(&optimizer, &mut random)?;
    let tensors: Vec<_> = optimizer.tensors().map(|(id, spec)| (id, spec.clone())).collect();
    for (id, spec) in &tensors {
        if spec.name.ends_with("bias") {
            let biases: Vec<f32> = (0..spec.len_elems()?).map(|_| random.signed_unit()).collect();
            optimizer.write_param(*id, &biases)?;
        }
    }
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
    let before: Params = tensors
        .iter()
        .map(|(id, _)| Ok(wide(optimizer.read_param(*id)?)))
        .collect::<anyhow::Result<_>>()?;

    let mut network = Network::new(&optimizer, &model, options.loss_scaler.as_ref())?;
    let order = split(digits.len(), &mut random);
    network.write_round(&order, 3);
    let mut encoder = encoder(gpu);
    for other in [0, 2, 3] {
        network.encode_forward(&mut encoder, other);
    }
    network.encode_backward(&mut encoder, 1);
    let scores = network.scores(encoder)?;

    assert_eq!(scores.steps.len(), 3);
    let losses: Vec<f64> = scores.steps.iter().map(|score| score.loss).collect();
    let expected = total(shape, &before, digits, &order[TRAIN]).0 / TRAIN.len() as f64;
    let found = network.mean_loss(&losses);
    assert!((found - expected).abs() < 1e-5 * expected, "{numerics}: {found}, {expected}");
    let parts = [(scores.test, TRAIN.end..LEN), (scores.steps[1], BATCH)];
    for (Score { loss, accuracy }, part) in parts {
        let len = part.len() as f64;
        let (expected, hits) = total(shape, &before, digits, &order[part]);
        let expected = expected / len;
        assert!((loss - expected).abs() < 1e-5 * expected, "{numerics}: {loss}, {expected}");
        assert_eq!(accuracy, f64::from(hits) / len);
    }

    let scaler = options.loss_scaler.as_ref();
    let scale = scaler.map_or(Ok(1.0), |scaler| scaler.read().map(|(scale, _)| scale))?;
    // Half a unit in the last place of the gradients' format.
    let rounding = match numerics.grad {
        Dtype::F16 => 2f64.powi(-11),
        Dtype::Bf16 => 2f64.powi(-8),
        _ => 0.0,
    };
    let mean = |params: &Params| total(shape, params, digits, &order[BATCH]).0 / 9.0;
    let mut params = before.clone();
    for (tensor, (id, spec)) in tensors.iter().enumerate() {
        let grad = optimizer.read_grad(*id)?;
        let mut largest = 0f64;
        for index in 0..before[tensor].len() {
            let mut loss_at = |step: f64| {
                params[tensor][index] = before[tensor][index] + step;
                mean(&params)
            };
            let expected = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6;
            params[tensor][index] = before[tensor][index];
            let found = f64::from(grad[index]) / f64::from(scale);
            let (name, most) = (&spec.name, 1e-6 + rounding * expected.abs());
            assert!(
                (found - expected).abs() < most,
                "{numerics}: {name}[{index}]: {found}, {expected}"
            );
            largest = largest.max(expected.abs());
        }
        assert!(largest > 1e-2, "{}: no gradient to speak of", spec.name);
    }
    Ok(())
}
