//! A run under way: rounds of steps, each with a test, and what is saved between them.

use std::{mem, ops::Range, path::PathBuf, time::Instant};

use anyhow::Result;
use fallline::{Estimate, Gpu, Group, Optimizer, Step, wgpu::CommandEncoder};

use super::{
    checkpoints::Saves,
    interrupt,
    log::{LogFile, RunLog},
    models::{Model, Network, Plan, Score, Scores, encoder},
    pace::Pace,
    progress::{BegunWith, Progress, Saved, begun_with},
    random::Random,
    run::{Point, Settings, Stopped},
    schedule::Rates,
    setup::Setup,
    watch::Watch,
};
use crate::{around::Around, config::Assigned, rule::RuleName};

/// Steps from one estimate of the Hessian to the next, of a rule that takes them: Sophia's.
const STEPS_PER_ESTIMATE: u32 = 10;

#[derive(Debug)]
pub(super) struct Training<'a> {
    gpu: &'a Gpu,
    plan: Plan,
    optimizer: Optimizer,
    network: Network,
    takes_estimates: bool,
    is_schedule_free: bool,
    assigned: Assigned,
    rates: Rates,
    watch: Watch,
    pace: Pace,
    saves: &'a Saves,
    log: Option<RunLog>,
    begun_with: BegunWith,
    /// Steps that were submitted.
    steps: u32,
    progress: Progress,
    /// When it was begun or continued.
    since: Instant,
}

impl<'a> Training<'a> {
    /// At the beginning, or where it was saved.
    pub(super) fn new(
        gpu: &'a Gpu,
        model: &dyn Model,
        (rule, lr): (RuleName, f64),
        settings: &Settings,
        saves: &'a Saves,
        log: Option<&LogFile>,
        random: &mut Random,
    ) -> Result<Self> {
        let since = Instant::now();
        let numerics = &settings.numerics;
        let options = settings.options(gpu)?;
        let Setup { assigned, mut rates } = settings.setup(model, (rule, lr))?;
        let mut groups = assigned.groups.clone();
        rates.begin(&mut groups)?;
        let mut optimizer = Optimizer::arena_with(gpu, &groups, &assigned.specs, &options)
            .map_err(|error| settings.named(error.into()))?;
        model.init(&optimizer, random)?;
        let network = Network::new(&optimizer, model, options.loss_scaler.as_ref())?;

        let plan = model.plan();
        let begun_with = begun_with(model, (rule, lr), settings)?;
        let mut progress = saves.load(&mut optimizer, model, &begun_with)?.unwrap_or_default();
        if saves.begins_at() > 0 {
            let states = mem::take(&mut progress.schedules);
            rates.load_states(saves.begins_at(), states)?;
        }
        let recorder = settings.monitor.map(|_| progress.recorder.take().unwrap_or_default());
        Ok(Self {
            gpu,
            plan,
            optimizer,
            network,
            takes_estimates: groups.iter().any(|group| group.rule.takes_estimates()),
            is_schedule_free: groups.iter().any(|group| group.rule.evaluates()),
            assigned,
            rates,
            watch: Watch::new(numerics, recorder, mem::take(&mut progress.reports)),
            pace: Pace::new(),
            saves,
            log: log.map(|log| log.begin(saves.begins_at())).transpose()?,
            begun_with,
            steps: saves.begins_at(),
            progress,
            since,
        })
    }

    /// Whether the run has come beyond this round already.
    pub(super) fn is_over(&self, round: &Range<u32>) -> bool {
        round.end <= self.steps
    }

    /// Trains what is left of a round with the examples of this order, and tests; or until Ctrl-C.
    pub(super) fn round(
        &mut self,
        model: &dyn Model,
        order: &[u32],
        round: &Range<u32>,
    ) -> Result<Result<Point, Stopped>> {
        let gpu = self.gpu;
        let ended = gpu.checked("a round", || self.steps(order, round))??;
        let scores = match ended {
            Ok(scores) => scores,
            Err(stopped) => return Ok(Err(stopped)),
        };
        self.record(&scores, round)?;
        let point = Point {
            at: model.at(round.end),
            train_loss: self.network.mean_loss(&self.progress.losses[round.start as usize..]),
            test_loss: scores.test.loss,
            test_accuracy: scores.test.accuracy,
            measured: self.watch.end_round(&mut self.optimizer)?,
        };
        self.rates.observe(point.test_loss);
        self.progress.curve.push(point);
        Ok(Ok(point))
    }

    /// Saves the run behind a round if it is time to, and if Ctrl-C stops it there.
    pub(super) fn end_round(&mut self) -> Result<Option<Stopped>> {
        let is_end = self.steps == self.plan.steps;
        let is_stopped = interrupt::is_requested() && !is_end;
        let is_due = is_stopped || self.saves.is_due(self.steps, is_end);
        let path = if is_due { self.save()? } else { None };
        Ok(is_stopped.then_some(Stopped { path }))
    }

    fn steps(&mut self, order: &[u32], round: &Range<u32>) -> Result<Result<Scores, Stopped>> {
        self.network.write_round(order, round.end - round.start);
        self.pace.restart();
        while self.steps < round.end {
            let end = self.steps + self.pace.steps();
            let end = end.min(round.end).min(self.saves.next(self.steps));
            let commands = self.encode(self.steps - round.start..end - round.start)?;
            self.gpu.queue().submit([commands.finish()]);
            self.watch.poll(&mut self.optimizer)?;
            let has_waited = self.pace.submitted(self.gpu, end - self.steps)?;
            self.steps = end;
            if end == round.end {
                break;
            }
            let is_stopped = interrupt::is_requested();
            let is_due = is_stopped || self.saves.is_due(end, false);
            // A log is behind by no more steps than the GPU is.
            if is_due || (has_waited && self.log.is_some()) {
                let scores = self.network.scores(encoder(self.gpu))?;
                self.record(&scores, round)?;
                let path = if is_due { self.save()? } else { None };
                if is_stopped {
                    return Ok(Err(Stopped { path }));
                }
                self.pace.restart();
            }
        }
        if self.is_schedule_free {
            self.optimizer.eval()?;
        }
        let scores = self.network.test()?;
        self.optimizer.train()?;
        Ok(Ok(scores))
    }

    /// Trains one batch of an order with these learning rates, and gives its loss; no part of any run.
    pub(super) fn step_with(&mut self, order: &[u32], batch: u32, lrs: &[f64]) -> Result<f64> {
        let gpu = self.gpu;
        self.begin_step()?;
        let scores = gpu.checked("a step", || {
            self.network.write_round(order, self.plan.steps_per_round);
            let mut encoder = encoder(gpu);
            self.encode_batch(&mut encoder, batch, lrs)?;
            self.network.scores(encoder)
        })??;
        Ok(scores.steps[batch as usize].loss)
    }

    /// Records these batches of a round.
    fn encode(&mut self, batches: Range<u32>) -> Result<CommandEncoder> {
        let mut encoder = encoder(self.gpu);
        for batch in batches {
            let lrs = self.rates.lrs();
            self.begin_step()?;
            self.encode_batch(&mut encoder, batch, &lrs)?;
            self.rates.step();
        }
        Ok(encoder)
    }

    /// Gives the optimizer what changes with the next step.
    fn begin_step(&mut self) -> Result<()> {
        let (next, first) = (self.rates.next(), self.saves.begins_at() + 1);
        self.assigned.freeze(&mut self.optimizer, next, first)?;
        self.rates.set_rules(&mut self.optimizer)
    }

    fn encode_batch(
        &mut self,
        encoder: &mut CommandEncoder,
        batch: u32,
        lrs: &[f64],
    ) -> Result<()> {
        if self.takes_estimates && batch.is_multiple_of(STEPS_PER_ESTIMATE) {
            self.network.encode_drawn(encoder, batch);
            let rows = self.network.rows(batch).into();
            self.optimizer.encode_estimate(encoder, &Estimate::squared(rows))?;
        }
        self.network.encode_backward(encoder, batch);
        self.optimizer.encode_step(encoder, &Step::lr_per_group(lrs))?;
        Ok(())
    }

    /// Takes over the losses of the steps since it did so the last time, and logs what the monitored ones among these tell.
    fn record(&mut self, scores: &Scores, round: &Range<u32>) -> Result<()> {
        self.watch.wait(&mut self.optimizer)?;
        let losses = &mut self.progress.losses;
        let begin = losses.len() - round.start as usize;
        let end = (self.steps - round.start) as usize;
        losses.extend(scores.steps[begin..end].iter().map(|score| score.loss));
        for mut record in self.watch.take_records() {
            let step = record.step as usize;
            record.loss = step.checked_sub(1).and_then(|step| losses.get(step).copied());
            if let Some(log) = &mut self.log {
                log.write(&record)?;
            }
        }
        Ok(())
    }

    /// Saves the run, whose losses are recorded.
    fn save(&mut self) -> Result<Option<PathBuf>> {
        self.progress.reports = self.watch.wait(&mut self.optimizer)?.to_vec();
        self.progress.recorder = self.watch.recorder().cloned();
        if let Some(log) = &self.log {
            log.sync()?;
        }
        self.progress.schedules = self.rates.states();
        let seconds = self.seconds();
        let saved = Saved::new(&self.begun_with, &self.progress, seconds);
        self.saves.save(&self.optimizer, &saved)
    }

    /// For how long it has been under way, without the time between the end of one process and the beginning of the next.
    pub(super) fn seconds(&self) -> f64 {
        self.progress.seconds + self.since.elapsed().as_secs_f64()
    }

    /// The groups, as they were at the beginning.
    pub(super) fn groups(&self) -> &[Group] {
        &self.assigned.groups
    }

    /// Whether there is an average of parameters.
    pub(super) fn averages(&self) -> bool {
        self.groups().iter().any(|group| Around::in_group(group).averages())
    }

    /// Tests with the average of the parameters in their place.
    pub(super) fn test_average(&mut self) -> Result<Score> {
        self.optimizer.eval()?;
        Ok(self.network.test()?.test)
    }

    /// What the model writes with the parameters that it is evaluated with.
    pub(super) fn sample(&mut self, model: &dyn Model, seed: u64) -> Result<Option<String>> {
        self.optimizer.eval()?;
        model.sample(&self.optimizer, &mut Random::new(seed))
    }

    /// Labels that were learned from, as often as they were.
    pub(super) fn rows(&self) -> u64 {
        let batch = |step| step % self.plan.steps_per_round;
        (0..self.steps).map(|step| u64::from(self.network.rows(batch(step)))).sum()
    }

    pub(super) fn progress(self) -> Progress {
        self.progress
    }
}
