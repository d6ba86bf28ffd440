//! What was decided about the last steps, copied to the host without a wait.

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{Buffer, BufferUsages};

use crate::{
    Gpu, Result, TensorId,
    abi::{Decision, NO_TENSOR, Norm},
    control::{Entries, HISTORY_LEN, Measure, entry_bytes},
    fits::fits,
    transfer, wait,
};

/// What a step measured and decided.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// The optimizer's step, counted from 1, skipped ones included.
    pub step: u32,
    /// Whether the step was skipped.
    pub skipped: bool,
    /// Why it was.
    pub skip_reason: Option<SkipReason>,
    /// Steps skipped so far.
    pub skipped_total: u32,
    /// The first tensor, in the order of ids, with an element of its gradient infinite or NaN. `None` also where
    /// gradients are finite and only their norm is not, or only those of another [part](crate::Sums).
    pub non_finite: Option<TensorId>,
    /// The first such tensor and its step among all steps that no report handed out before has told of: however many of
    /// these there were, and whether or not they were skipped.
    pub first_non_finite: Option<NonFinite>,
    /// Norm of all gradients, unscaled and before clipping; infinite or NaN if one of them is.
    pub norm: f32,
    /// Norm of each group's gradients.
    pub norm_per_group: Vec<f32>,
    /// By which gradients of groups without a limit of their own were multiplied.
    pub clip_factor: f32,
    /// By which each group's gradients were multiplied.
    pub clip_factor_per_group: Vec<f32>,
    /// The loss scale of this step's gradients.
    pub loss_scale: f32,
    /// What the step tells besides, if it is one of those that are [monitored](crate::Options::monitor).
    pub monitored: Option<Monitored>,
}

/// What a monitored step tells.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Monitored {
    /// Of each group; a learning rate is the largest of its tensors.
    pub per_group: Vec<Norms>,
    /// Of each tensor in the order of ids, if that was [asked for](crate::Monitor::per_tensor); else empty. A tensor that
    /// was taken out still has its place, and what stands there does not matter.
    pub per_tensor: Vec<Norms>,
}

/// Norms of a group or a tensor in one step: roots of sums of squares, within a relative 1e-5.
///
/// ```text
/// update_norm = ‖p after the step - p before it‖,  weight_norm = ‖p before it‖
/// ```
///
/// Of a parameter with a master copy or a remainder, p is that which these keep; else it is what its format holds, so
/// that an update that rounding loses counts as none. Squares are f32: what is below 1e-19 counts as zero, and beyond
/// 1e19 a norm is infinite. A tensor without gradient and any tensor of a skipped step counts with 0 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Norms {
    /// Of the gradient, unscaled and before clipping; infinite or NaN if an element is.
    pub grad_norm: f32,
    /// Of the change of the parameter.
    pub update_norm: f32,
    /// Of the parameter before the step.
    pub weight_norm: f32,
    /// The learning rate.
    pub lr: f32,
}

impl Norms {
    /// By how much of itself the parameter changes: `update_norm / weight_norm`. `None` where the parameter was zero, or
    /// takes no step.
    #[must_use]
    pub fn update_ratio(&self) -> Option<f32> {
        (self.weight_norm != 0.0).then(|| self.update_norm / self.weight_norm)
    }
}

/// Where a gradient was infinite or NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NonFinite {
    /// The optimizer's step, counted from 1.
    pub step: u32,
    /// The first tensor with such an element, in the order of ids.
    pub tensor: TensorId,
}

/// Why a step was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// A gradient, or the norm of all of them, is infinite or NaN. A dynamic loss scale backs off.
    NonFinite,
    /// All gradients are finite, but one, unscaled and clipped, is so large that the rule of its group
    /// would leave the range of f32: Adam and AdamW square gradients, and skip from 2^63 on. No loss scale
    /// would help, so it stays.
    TooLarge,
}

impl SkipReason {
    /// From `skipped` of `structs/decision.wgsl`.
    fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => None,
            2 => Some(Self::TooLarge),
            _ => Some(Self::NonFinite),
        }
    }
}

/// Copies under way at once.
const STAGING: usize = 3;

/// Brings the GPU's history of decisions to the host.
#[derive(Debug)]
pub(crate) struct Reports {
    history: Buffer,
    /// Of a decision.
    entry_bytes: usize,
    entries: Option<Entries>,
    staging: Vec<Staging>,
    /// The staging buffer to be used next: they take turns.
    next: usize,
    /// The last step that was handed out.
    delivered: u32,
}

#[derive(Debug)]
struct Staging {
    buffer: Buffer,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    UnderWay,
    Arrived,
    Failed,
}

impl Reports {
    pub(crate) fn new(gpu: &Gpu, measure: &Measure, groups: usize) -> Result<Self> {
        let history = &measure.history;
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staging = || {
            let buffer = gpu.buffer("fallline report", history.size(), usage)?;
            Ok(Staging { buffer, state: Arc::new(Mutex::new(State::Free)) })
        };
        Ok(Self {
            history: history.clone(),
            entry_bytes: fits(entry_bytes(groups), "an entry is short"),
            entries: measure.entries,
            staging: (0..STAGING).map(|_| staging()).collect::<Result<_>>()?,
            next: 0,
            delivered: 0,
        })
    }

    /// Begins anew behind the step of this number.
    pub(crate) fn reset(&mut self, gpu: &Gpu, step: u32) -> Result<()> {
        let size = usize::try_from(self.history.size()).unwrap_or(usize::MAX);
        gpu.write("fallline history", &self.history, 0, &vec![0u8; size])?;
        self.go_back(gpu, step)
    }

    /// Hands out what the history has of later steps than this one.
    pub(crate) fn go_back(&mut self, gpu: &Gpu, delivered: u32) -> Result<()> {
        self.delivered = delivered;
        // What is on its way is of the steps before.
        for staging in &mut self.staging {
            staging.state = Arc::new(Mutex::new(State::Free));
            let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            staging.buffer = gpu.buffer("fallline report", self.history.size(), usage)?;
        }
        Ok(())
    }

    /// The last step that was handed out.
    pub(crate) fn delivered(&self) -> u32 {
        self.delivered
    }

    /// Hands out no step that another has handed out.
    pub(crate) fn go_on_after(&mut self, other: &Self) {
        self.delivered = other.delivered;
    }

    /// What has arrived since the last call; asks for what has not. Never waits.
    pub(crate) fn poll(&mut self, gpu: &Gpu) -> Result<Vec<StepReport>> {
        // Callbacks run now.
        wait::turn(gpu.device())?;
        let mut reports = Vec::new();
        for turn in 0..STAGING {
            let staging = &self.staging[(self.next + turn) % STAGING];
            match staging.state() {
                State::Arrived => {
                    let bytes = staging.take(gpu)?;
                    reports.extend(self.parse(&bytes));
                }
                State::Failed => {
                    // To be asked for again, unless the device is the reason.
                    staging.set(State::Free);
                    gpu.check_lost()?;
                }
                State::Free | State::UnderWay => {}
            }
        }
        let staging = &self.staging[self.next];
        if staging.state() == State::Free {
            staging.request(gpu, &self.history)?;
            self.next = (self.next + 1) % STAGING;
        }
        Ok(self.deliver(reports))
    }

    /// Everything that was submitted, after waiting for it.
    pub(crate) async fn fetch(&mut self, gpu: &Gpu) -> Result<Vec<StepReport>> {
        let bytes: Vec<u8> = transfer::fetch(gpu, &self.history, 0, self.history.size()).await?;
        let reports = self.parse(&bytes).collect();
        Ok(self.deliver(reports))
    }

    fn parse(&self, bytes: &[u8]) -> impl Iterator<Item = StepReport> {
        let decisions = bytes.chunks_exact(self.entry_bytes).take(fits(HISTORY_LEN, "64"));
        let mut reports: Vec<_> = decisions.map(report).filter(|report| report.step > 0).collect();
        if let Some(entries) = &self.entries {
            for (step, monitored) in monitored(bytes, entries) {
                let of_step = reports.iter_mut().find(|report| report.step == step);
                of_step.into_iter().for_each(|report| report.monitored = Some(monitored.clone()));
            }
        }
        reports.into_iter()
    }

    /// Those that were not handed out before, in order.
    fn deliver(&mut self, mut reports: Vec<StepReport>) -> Vec<StepReport> {
        reports.retain(|report| report.step > self.delivered);
        reports.sort_by_key(|report| report.step);
        reports.dedup_by_key(|report| report.step);
        self.delivered = reports.last().map_or(self.delivered, |report| report.step);
        reports
    }
}

impl Staging {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Copies the history here, and says when it has arrived.
    fn request(&self, gpu: &Gpu, history: &Buffer) -> Result<()> {
        self.set(State::UnderWay);
        let state = Arc::clone(&self.state);
        let requested = gpu.checked("report", || {
            let mut encoder =
                gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("fallline report"),
                });
            encoder.copy_buffer_to_buffer(history, 0, &self.buffer, 0, history.size());
            gpu.queue().submit([encoder.finish()]);
            self.buffer.map_async(wgpu::MapMode::Read, .., move |mapped| {
                let arrived = if mapped.is_ok() { State::Arrived } else { State::Failed };
                *state.lock().unwrap_or_else(PoisonError::into_inner) = arrived;
            });
        });
        if requested.is_err() {
            self.set(State::Free);
        }
        requested
    }

    fn take(&self, gpu: &Gpu) -> Result<Vec<u8>> {
        let view = self.buffer.get_mapped_range(..);
        let view = view.map_err(|error| gpu.refused("report", &error))?;
        let bytes = view.to_vec();
        drop(view);
        self.buffer.unmap();
        self.set(State::Free);
        Ok(bytes)
    }
}

fn report(entry: &[u8]) -> StepReport {
    let (head, norms) = entry.split_at(size_of::<Decision>());
    let head: Decision = bytemuck::pod_read_unaligned(head);
    let norms: Vec<Norm> = bytemuck::pod_collect_to_vec(norms);
    let tensor = |number: u32| (number != NO_TENSOR).then_some(TensorId(number as usize));
    let first = tensor(head.first_tensor).map(|tensor| NonFinite { step: head.first_step, tensor });
    StepReport {
        step: head.step,
        skipped: head.skipped != 0,
        skip_reason: SkipReason::from_code(head.skipped),
        skipped_total: head.skipped_total,
        non_finite: tensor(head.not_finite),
        first_non_finite: first.filter(|_| head.first_step != 0),
        norm: norms[0].norm,
        norm_per_group: norms[1..].iter().map(|norm| norm.norm).collect(),
        clip_factor: norms[0].clip_factor,
        clip_factor_per_group: norms[1..].iter().map(|norm| norm.clip_factor).collect(),
        loss_scale: head.loss_scale,
        monitored: None,
    }
}

/// What monitored steps tell, with the step.
fn monitored(bytes: &[u8], entries: &Entries) -> Vec<(u32, Monitored)> {
    let behind = bytes.get(fits::<usize>(entries.offset, "within a buffer")..).unwrap_or_default();
    let rows: Vec<[u32; 4]> = bytemuck::pod_collect_to_vec(&behind[..behind.len() / 16 * 16]);
    let norms = |row: &[u32; 4]| {
        let [grad_norm, update_norm, weight_norm, lr] = row.map(f32::from_bits);
        Norms { grad_norm, update_norm, weight_norm, lr }
    };
    let entry = |rows: &[[u32; 4]]| {
        let (groups, tensors) = rows[1..].split_at(entries.groups);
        let per_group = groups.iter().map(norms).collect();
        (rows[0][0], Monitored { per_group, per_tensor: tensors.iter().map(norms).collect() })
    };
    rows.chunks_exact(entries.rows).map(entry).collect()
}
