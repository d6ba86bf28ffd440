//! One row: a step, its bare traffic, a copy and the baselines, in turns.
//!
//! Clock rates, other programs and memory pages change while a benchmark runs. So everything that is
//! compared is measured in the same rounds, in alternating order, and a ratio is the median of the
//! rounds' ratios.

use std::sync::Arc;

use std::time::Instant;

use anyhow::{Context, Result};
use fallline::{Gpu, Group, Optimizer, Rule, Step, TensorSpec, Traffic, wgpu};
use indicatif::ProgressBar;

use super::{
    baselines::{Known, PerTensor, Scalars, Tensors, Unfused},
    models::Model,
    row::Subject,
    subject,
};
use crate::{around::Around, copy::Copy, precision::Numerics, rule::RuleName, timing::Timer};

/// Rounds before the first that counts: pages are touched and kernels compiled there.
pub(crate) const WARMUP_ROUNDS: usize = 2;

/// The baselines are slow: they take part in so many of the rounds.
const BASELINE_ROUNDS: usize = 5;

/// Small, so that parameters stay what they are over any number of steps.
pub(super) const LR: f64 = 1e-6;

/// What is needed to measure on a device.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) gpu: Gpu,
    pub(crate) timer: Timer,
    pub(crate) copy: Copy,
    pub(crate) rounds: usize,
    pub(crate) borrowed: bool,
    pub(crate) numerics: Numerics,
    pub(crate) around: Around,
    pub(crate) baselines: bool,
}

/// Seconds, one for each round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) step: Vec<f64>,
    pub(crate) traffic: Vec<f64>,
    pub(crate) copy: Vec<f64>,
    /// A step in f32 that neither clips nor scales, with nothing around the rule, if that is not the step itself.
    pub(crate) plain: Vec<f64>,
    /// Host time of recording a step.
    pub(crate) encode: Vec<f64>,
    /// Baselines take part in some of the rounds only.
    pub(crate) per_tensor: Vec<Paired>,
    pub(crate) unfused: Vec<Paired>,
    pub(crate) dispatches: usize,
    pub(crate) state_size_bytes: u64,
    /// Host seconds of building the optimizer, and of its first step.
    pub(crate) build: f64,
    pub(crate) first_step: f64,
}

/// Seconds of a baseline, and of the step in the same round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paired {
    pub(crate) baseline: f64,
    pub(crate) step: f64,
}

impl Bench {
    /// What a row of this model and rule is about.
    pub(super) fn subject(&self, (model, name, width): (Model, RuleName, f64)) -> Subject {
        Subject {
            model: model.name(),
            rule: name.to_string(),
            numerics: self.numerics,
            around: self.around,
            width,
            borrowed: self.borrowed,
            lane_vec4s: self.gpu.lane_vec4s().count(),
        }
    }

    /// Measures a rule over these tensors.
    pub(crate) fn measure(
        &self,
        rule: Arc<dyn Rule>,
        specs: &[TensorSpec],
        bar: &ProgressBar,
    ) -> Result<Samples> {
        let gpu = &self.gpu;
        let optimizer = |numerics, around: Around| -> Result<(Optimizer, f64, f64)> {
            let group = around.of(Group::new("all", rule.clone()));
            let (mut optimizer, build) =
                subject::timed_optimizer(gpu, group, specs, numerics, self.borrowed)?;
            let start = Instant::now();
            optimizer.step(&Step::lr(LR))?;
            gpu.wait()?;
            Ok((optimizer, build, start.elapsed().as_secs_f64()))
        };
        let (mut measured, build, first_step) = optimizer(&self.numerics, self.around)?;
        let plain = (Numerics::default(), Around::default().with_defaults());
        let mut plain = match (self.numerics, self.around) == plain {
            true => None,
            false => Some(optimizer(&plain.0, plain.1).context("the plain step")?.0),
        };
        let traffic = measured.traffic()?;
        let mut baselines = match Known::new(&*rule).filter(|_| self.baselines) {
            Some(known) => Some(Baselines::new(gpu, rule, known, specs).context("baselines")?),
            None => None,
        };
        let mut samples = Samples {
            dispatches: measured.dispatches(),
            state_size_bytes: measured.state_size_bytes(),
            build,
            first_step,
            ..Samples::default()
        };
        let mut discarded = Samples::default();
        let every = self.rounds.div_ceil(BASELINE_ROUNDS);
        for round in 0..WARMUP_ROUNDS + self.rounds {
            let counted = round.checked_sub(WARMUP_ROUNDS);
            let into = if counted.is_some() { &mut samples } else { &mut discarded };
            self.round(round, (&mut measured, plain.as_mut()), &traffic, into)?;
            let first = round == 0 || counted.is_some_and(|counted| counted % every == 0);
            if let Some(baselines) = baselines.as_mut().filter(|_| first) {
                let step = into.step.last().copied().unwrap_or(f64::NAN);
                let baseline = baselines.time_per_tensor(&self.timer)?;
                into.per_tensor.push(Paired { baseline, step });
                let baseline = baselines.time_unfused(&self.timer)?;
                into.unfused.push(Paired { baseline, step });
            }
            bar.inc(1);
        }
        Ok(samples)
    }

    fn round(
        &self,
        round: usize,
        (optimizer, mut plain): (&mut Optimizer, Option<&mut Optimizer>),
        traffic: &Traffic,
        into: &mut Samples,
    ) -> Result<()> {
        let time = |optimizer: &mut Optimizer| {
            self.timer.time(|pass| Ok(optimizer.record_step(pass, &Step::lr(LR))?))
        };
        let mut step = |into: &mut Samples| -> Result<()> {
            into.step.push(time(optimizer)?);
            if let Some(plain) = &mut plain {
                into.plain.push(time(plain)?);
            }
            Ok(())
        };
        let bare = |into: &mut Samples| -> Result<()> {
            into.traffic.push(self.timer.time(|pass| {
                traffic.record(pass);
                Ok(())
            })?);
            Ok(())
        };
        // Whoever runs second finds the caches as the first left them.
        if round.is_multiple_of(2) {
            step(into)?;
            bare(into)?;
        } else {
            bare(into)?;
            step(into)?;
        }
        into.encode.push(self.time_encode(optimizer)?);
        into.copy.push(self.timer.time(|pass| {
            self.copy.record(pass);
            Ok(())
        })?);
        Ok(())
    }

    /// Host seconds for recording a step into an encoder, which is then dropped: not submitted,
    /// the step has no effect.
    fn time_encode(&self, optimizer: &mut Optimizer) -> Result<f64> {
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some("fallline encode"),
            });
        let start = Instant::now();
        optimizer.encode_step(&mut encoder, &Step::lr(LR))?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Both baselines, over the same tensors.
struct Baselines {
    gpu: Gpu,
    rule: Arc<dyn Rule>,
    per_tensor: PerTensor,
    unfused: Unfused,
    t: i32,
}

impl Baselines {
    fn new(gpu: &Gpu, rule: Arc<dyn Rule>, known: Known, specs: &[TensorSpec]) -> Result<Self> {
        let tensors = Tensors::new(gpu, specs, rule.slots(&specs[0]).len())?;
        tensors.fill(gpu, specs)?;
        Ok(Self {
            per_tensor: PerTensor::new(gpu, known, &tensors)?,
            unfused: Unfused::new(gpu, known, &tensors)?,
            gpu: gpu.clone(),
            rule,
            t: 0,
        })
    }

    fn scalars(&mut self) -> Scalars {
        self.t += 1;
        Scalars::new(&*self.rule, LR, self.t)
    }

    fn time_per_tensor(&mut self, timer: &Timer) -> Result<f64> {
        let scalars = self.scalars();
        self.per_tensor.write(&self.gpu, &scalars);
        timer.time(|pass| {
            self.per_tensor.record(pass);
            Ok(())
        })
    }

    fn time_unfused(&mut self, timer: &Timer) -> Result<f64> {
        let scalars = self.scalars();
        self.unfused.write(&self.gpu, &scalars);
        timer.time(|pass| {
            self.unfused.record(pass);
            Ok(())
        })
    }
}
