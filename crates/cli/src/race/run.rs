//! The race: every rule with every learning rate that may suit it, in the same passes of one optimizer.

use fallline::{
    BorrowedTensor, BufferRange, ComputeDispatch, ComputeKernel, Estimate, Gpu, Group, Optimizer,
    Step, TensorSpec,
    wgpu::{self, BufferUsages},
};

use super::{entrant::Entrant, landscape::Landscape};
use crate::compute;

/// Of a racer's parameter: two numbers, and room up to where the next may begin.
const RACER_BYTES: u64 = 16;

/// Few enough for the optimizer: each takes up to three of its 64 entries, and one more for an estimate.
const STEPS_PER_SUBMISSION: u32 = 16;

/// Steps from one estimate of the Hessian to the next, of a rule that takes them.
const STEPS_PER_ESTIMATE: u32 = 10;

/// Below this, heights are the rounding of f32.
const FLAT: f64 = 1e-9;

/// Where it counts as having arrived.
pub(super) const ARRIVED: f64 = 1e-3;

/// A rule with one learning rate, and where it went.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Which of the entrants it is.
    pub(super) entrant: usize,
    pub(super) name: String,
    pub(super) lr: f64,
    /// The start first, one point a step behind it; up to the last that is a number.
    pub(super) points: Vec<[f64; 2]>,
    /// Whether it has been a number and near the view throughout.
    pub(super) stayed: bool,
}

impl Path {
    /// The value above the minimum at its end.
    pub(super) fn height(&self, landscape: Landscape) -> f64 {
        self.points.last().map_or(f64::NAN, |point| landscape.height(*point))
    }

    /// The first step from which on it remains within [`ARRIVED`] of the minimum's value.
    pub(super) fn arrived(&self, landscape: Landscape) -> Option<usize> {
        let far = self.points.iter().rposition(|point| landscape.height(*point) > ARRIVED);
        let step = far.map_or(0, |far| far + 1);
        (self.stayed && step < self.points.len()).then_some(step)
    }

    /// The mean logarithm of its height in the second half of the steps: low if it comes down soon and far. Infinite if
    /// it leaves the map.
    fn score(&self, landscape: Landscape) -> f64 {
        if !self.stayed {
            return f64::INFINITY;
        }
        let second_half = &self.points[self.points.len() / 2..];
        let logs = second_half.iter().map(|point| landscape.height(*point).max(FLAT).ln());
        logs.sum::<f64>() / second_half.len() as f64
    }
}

/// How much of the best's way down, by the logarithm of heights, a path must have come that is taken instead since its
/// learning rate is smaller: the best often swing from wall to wall.
const ENOUGH: f64 = 0.9;

/// Lets all run, and gives for each the path with the smallest learning rate that brings it down almost as soon and as
/// far as the best.
pub(super) fn race(
    gpu: &Gpu,
    landscape: Landscape,
    entrants: &[Entrant],
    steps: u32,
) -> anyhow::Result<Vec<Path>> {
    let mut racers = Vec::new();
    for (entrant, who) in entrants.iter().enumerate() {
        racers.extend(who.rates()?.into_iter().map(|lr| (entrant, lr)));
    }
    let paths = run(gpu, landscape, entrants, &racers, steps)?;
    let chosen = |entrant: usize| {
        let own = || paths.iter().filter(|path| path.entrant == entrant);
        let start = landscape.height(landscape.start().map(f64::from)).ln();
        let best = own().map(|path| path.score(landscape)).fold(f64::INFINITY, f64::min);
        // Rates ascend.
        let enough = start - ENOUGH * (start - best);
        own().find(|path| path.score(landscape) <= enough.max(best))
    };
    Ok((0..entrants.len()).filter_map(chosen).cloned().collect())
}

/// Runs these racers, each an entrant and a learning rate.
fn run(
    gpu: &Gpu,
    landscape: Landscape,
    entrants: &[Entrant],
    racers: &[(usize, f64)],
    steps: u32,
) -> anyhow::Result<Vec<Path>> {
    let mut groups = Vec::new();
    for (index, &(entrant, lr)) in racers.iter().enumerate() {
        groups.push(Group::new(index.to_string(), entrants[entrant].rule(Some(lr))?));
    }
    let evaluates = groups.iter().any(|group| group.rule.evaluates());
    let takes_estimates = groups.iter().any(|group| group.rule.takes_estimates());
    let rates: Vec<f64> = racers.iter().map(|(_, lr)| *lr).collect();

    let field = Field::new(gpu, landscape, racers.len(), steps)?;
    let mut optimizer = Optimizer::borrowed(gpu, &groups, &field.tensors(racers.len()))?;
    for first in (0..steps).step_by(STEPS_PER_SUBMISSION as usize) {
        let label = Some("race");
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        if first == 0 {
            field.note(&mut encoder, 0);
        }
        for step in first..steps.min(first + STEPS_PER_SUBMISSION) {
            field.encode_gradient(&mut encoder);
            if takes_estimates && step.is_multiple_of(STEPS_PER_ESTIMATE) {
                optimizer.encode_estimate(&mut encoder, &Estimate::squared(1.0))?;
            }
            optimizer.encode_step(&mut encoder, &Step::lr_per_group(&rates))?;
            // Where a rule is evaluated is where it has got to.
            if evaluates {
                optimizer.encode_eval(&mut encoder)?;
            }
            field.note(&mut encoder, step + 1);
            optimizer.encode_train(&mut encoder)?;
        }
        gpu.checked("steps of a race", || gpu.queue().submit([encoder.finish()]))?;
    }

    let places: Vec<[f32; 4]> = compute::read(gpu, &field.places)?;
    let path = |(racer, &(entrant, lr)): (usize, &(usize, f64))| {
        let points = places.iter().skip(racer).step_by(racers.len());
        let points: Vec<[f64; 2]> = points.map(|&[x, y, ..]| [x.into(), y.into()]).collect();
        let near = |point: &&[f64; 2]| landscape.view().is_near(**point);
        let stayed = points.iter().filter(near).count() == points.len();
        let points = points.into_iter().take_while(|[x, y]| x.is_finite() && y.is_finite());
        let name = entrants[entrant].name.clone();
        Path { entrant, name, lr, points: points.collect(), stayed }
    };
    Ok(racers.iter().enumerate().map(path).collect())
}

/// Where the racers are and what they feel, on the GPU.
#[derive(Debug)]
struct Field {
    params: wgpu::Buffer,
    grads: wgpu::Buffer,
    gradient: ComputeDispatch,
    /// Where all were after each step.
    places: wgpu::Buffer,
}

impl Field {
    fn new(gpu: &Gpu, landscape: Landscape, racers: usize, steps: u32) -> anyhow::Result<Self> {
        let size = racers as u64 * RACER_BYTES;
        let [x, y] = landscape.start();
        let starts = vec![[x, y, 0.0, 0.0]; racers];
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let (params, grads, places) = gpu.checked("the buffers of a race", || {
            let params = compute::buffer(gpu, "race parameters", size, usage);
            gpu.queue().write_buffer(&params, 0, bytemuck::cast_slice(&starts));
            let grads = compute::buffer(gpu, "race gradients", size, usage);
            let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            let places_size = size * (u64::from(steps) + 1);
            (params, grads, compute::buffer(gpu, "race places", places_size, usage))
        })?;
        let wgsl = [include_str!("shaders/gradient.wgsl"), landscape.wgsl()].concat();
        let bindings = [ComputeKernel::READ, ComputeKernel::WRITE];
        let kernel = ComputeKernel::new(gpu, "race gradient", &wgsl, &[], &bindings)?;
        let resources = [compute::part(&params, 0, size), compute::part(&grads, 0, size)];
        let workgroups = u32::try_from(racers.div_ceil(64))?;
        let gradient = kernel.bind(&resources, [workgroups, 1, 1])?;
        Ok(Self { params, grads, gradient, places })
    }

    /// A tensor of two elements for each racer, in a group of its own.
    fn tensors(&self, racers: usize) -> Vec<BorrowedTensor> {
        let tensor = |racer: usize| {
            let name = racer.to_string();
            let offset = racer as u64 * RACER_BYTES;
            BorrowedTensor {
                spec: TensorSpec::new(&name, [2]).in_group(&name),
                param: BufferRange::new(&self.params, offset, 2),
                grad: Some(BufferRange::new(&self.grads, offset, 2)),
            }
        };
        (0..racers).map(tensor).collect()
    }

    fn encode_gradient(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("race gradient"),
            timestamp_writes: None,
        });
        self.gradient.record(&mut pass, &[]);
    }

    /// Records where all are.
    fn note(&self, encoder: &mut wgpu::CommandEncoder, step: u32) {
        let size = self.params.size();
        encoder.copy_buffer_to_buffer(&self.params, 0, &self.places, u64::from(step) * size, size);
    }
}
