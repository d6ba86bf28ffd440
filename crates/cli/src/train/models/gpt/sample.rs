//! Text that the model writes: character by character, each drawn from what the model makes of those before.

use anyhow::Result;
use fallline::Optimizer;

use super::{Course, Gpt, text::count};
use crate::train::{
    models::{Model, Network},
    random::Random,
};

/// Begins with a new line, as a speech does.
pub(super) fn sample(model: &Gpt, optimizer: &Optimizer, random: &mut Random) -> Result<String> {
    let Course { sample, temperature, .. } = model.course;
    let length = model.config.block_size as usize;
    // One sequence, whose tokens are written anew for each character.
    let course = Course { batch_size: 1, steps: 1, eval_interval: 1, ..model.course };
    let single = Gpt { course, ..model.clone() };
    let mut network = Network::new(optimizer, &single, None)?;
    network.write_round(&vec![0; single.order(random).len()], 1);

    let newline = model.text.characters.iter().position(|c| *c == '\n').unwrap_or(0);
    let mut tokens = vec![count(newline)];
    for _ in 0..sample {
        let context = &tokens[tokens.len().saturating_sub(length)..];
        network.write_labels(context);
        let logits = network.logits(count(context.len()) - 1)?;
        // What fills up the last word is no character.
        let logits = &logits[..model.text.characters.len()];
        tokens.push(draw(logits, temperature, random));
    }
    Ok(model.text.decode(&tokens[1..]))
}

/// A token by its probability, softmax of logits / temperature.
fn draw(logits: &[f32], temperature: f64, random: &mut Random) -> u32 {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let weight = |logit: &f32| (f64::from(logit - largest) / temperature).exp();
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let mut rest = random.unit() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|weight| {
        rest -= weight;
        rest < 0.0
    });
    count(drawn.unwrap_or(0))
}
