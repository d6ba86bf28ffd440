//! What it costs the host that gradients lie elsewhere in every step.

use std::sync::Arc;

use std::time::Instant;

use anyhow::Result;
use fallline::{
    BufferRange, Gpu, Group, Optimizer, Places, Rule, Step, TensorSpec,
    wgpu::{Buffer, BufferUsages, CommandEncoderDescriptor},
};

use super::{measure::LR, subject};
use crate::{
    compute,
    precision::Numerics,
    print,
    timing::{median, quantile},
};

/// Gradients that change their buffer in every step.
const ELSEWHERE: usize = 40;

/// Buffers that these go round.
const BUFFERS: usize = 10;

/// Which gradients move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Moves {
    Nothing,
    WithinBuffers,
    ToOtherBuffers,
}

/// One row: host time that places add to recording a step.
#[derive(Debug, serde::Serialize)]
pub(super) struct Row {
    model: &'static str,
    rule: String,
    tensors: usize,
    params: u64,
    #[serde(flatten)]
    numerics: Numerics,
    moves: Moves,
    moved: usize,
    dispatches: usize,
    /// Median and quartiles of the rounds: `encode_step_at` less `encode_step`.
    places_us: f64,
    places_us_quartiles: (f64, f64),
    encode_us: f64,
}

/// Records steps with and without places, in turns.
pub(super) fn measure(
    gpu: &Gpu,
    (model, name, rule): (&'static str, String, Arc<dyn Rule>),
    (specs, numerics): (&[TensorSpec], &Numerics),
    rounds: usize,
) -> Result<Vec<Row>> {
    let mut optimizer = subject::optimizer(gpu, Group::new("all", rule), specs, numerics, true)?;
    optimizer.step(&Step::lr(LR))?;
    gpu.wait()?;
    let at = Gradients::new(gpu, &optimizer, specs)?;
    let params = specs.iter().map(TensorSpec::len_elems).sum::<fallline::Result<u64>>()?;
    let mut rows = Vec::new();
    for moves in [Moves::Nothing, Moves::WithinBuffers, Moves::ToOtherBuffers] {
        let (mut places_us, mut encodes) = (Vec::new(), Vec::new());
        let mut moved = 0;
        // Bind groups of all buffers are made in the rounds before.
        for round in 0..2 * BUFFERS + rounds {
            let (before, now) = (at.places(moves, round), at.places(moves, round + 1));
            moved = before.iter().zip(&now).filter(|(a, b)| a != b).count();
            record(gpu, &mut optimizer, Some(&before))?;
            let with = record(gpu, &mut optimizer, Some(&now))?;
            let without = record(gpu, &mut optimizer, None)?;
            if round >= 2 * BUFFERS {
                places_us.push((with - without) * 1e6);
                encodes.push(without * 1e6);
            }
        }
        rows.push(Row {
            model,
            rule: name.clone(),
            tensors: specs.len(),
            params,
            numerics: *numerics,
            moves,
            moved,
            dispatches: optimizer.dispatches(),
            places_us: median(&places_us),
            places_us_quartiles: (quantile(&places_us, 0.25), quantile(&places_us, 0.75)),
            encode_us: median(&encodes),
        });
    }
    Ok(rows)
}

/// Host seconds of recording one step, at these places or where it was.
fn record(
    gpu: &Gpu,
    optimizer: &mut Optimizer,
    grads: Option<&[Option<BufferRange>]>,
) -> Result<f64> {
    let descriptor = CommandEncoderDescriptor { label: Some("fallline moving") };
    let mut encoder = gpu.device().create_command_encoder(&descriptor);
    let step = Step::lr(LR);
    let start = Instant::now();
    match grads {
        Some(grads) => optimizer.encode_step_at(&mut encoder, &step, &Places::of_grads(grads))?,
        None => optimizer.encode_step(&mut encoder, &step)?,
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Where gradients lie at first, and other buffers for some of them.
struct Gradients {
    first: Vec<Option<BufferRange>>,
    /// The smallest, since what they cost does not depend on their size.
    elsewhere: Vec<usize>,
    buffers: Vec<Buffer>,
    largest: u64,
}

impl Gradients {
    fn new(gpu: &Gpu, optimizer: &Optimizer, specs: &[TensorSpec]) -> Result<Self> {
        let mut first = Vec::new();
        for ((id, _), spec) in optimizer.tensors().zip(specs) {
            let grad = optimizer.grad(id)?;
            let range = BufferRange::new(grad.buffer(), grad.offset(), spec.len_elems()?);
            first.push(Some(range));
        }
        let mut elsewhere: Vec<usize> = (0..specs.len()).collect();
        elsewhere.sort_by_key(|index| first[*index].as_ref().map_or(0, |range| range.len_elems));
        elsewhere.truncate(ELSEWHERE);
        let len = |index: &usize| first[*index].as_ref().map_or(0, |range| range.len_elems * 4);
        let largest = elsewhere.iter().map(len).max().unwrap_or(0).next_multiple_of(256);
        let size = (largest * ELSEWHERE as u64).max(256);
        let label = "gradients elsewhere";
        let buffers = gpu.checked(label, || {
            (0..BUFFERS).map(|_| compute::buffer(gpu, label, size, BufferUsages::STORAGE)).collect()
        })?;
        Ok(Self { first, elsewhere, buffers, largest })
    }

    fn places(&self, moves: Moves, round: usize) -> Vec<Option<BufferRange>> {
        let mut places = self.first.clone();
        match moves {
            Moves::Nothing => {}
            Moves::WithinBuffers => {
                // Never where they lay at first, for which everything is made.
                for range in places.iter_mut().flatten() {
                    range.offset += subject::SLACK_BYTES / 2 * (1 + round as u64 % 2);
                }
            }
            Moves::ToOtherBuffers => {
                for (number, index) in self.elsewhere.iter().enumerate() {
                    let buffer = &self.buffers[(number + round) % BUFFERS];
                    if let Some(range) = &mut places[*index] {
                        range.buffer = buffer.clone();
                        range.offset = self.largest * number as u64;
                    }
                }
            }
        }
        places
    }
}

const HEAD: [&str; 6] = ["model", "rule", "moved", "dispatches", "places us", "encode us"];

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let (low, high) = row.places_us_quartiles;
        let moved = match row.moves {
            Moves::Nothing => format!("none of {}", row.tensors),
            Moves::WithinBuffers => format!("{} in their buffers", row.moved),
            Moves::ToOtherBuffers => format!("{} to other buffers", row.moved),
        };
        vec![
            row.model.to_owned(),
            row.rule.clone(),
            moved,
            row.dispatches.to_string(),
            format!("{:.0} ({low:.0}..{high:.0})", row.places_us),
            format!("{:.0}", row.encode_us),
        ]
    };
    print::table(&HEAD, rows.iter().map(cells))
}
