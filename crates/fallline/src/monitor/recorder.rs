use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{NonFiniteStep, Record, RecordNorms};
use crate::{Norms, Optimizer, StepReport, TensorId};

/// Gathers reports into records. It goes into checkpoints: a run that is resumed with it has the records of one that never
/// stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorder {
    norms: NormHistory,
    /// The next, so far.
    next: Record,
    /// The last step that was not finite and is in a record.
    told: u32,
}

impl Recorder {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A record for each step that was monitored among these, which come in order from this optimizer.
    pub fn take(&mut self, optimizer: &Optimizer, reports: Vec<StepReport>) -> Vec<Record> {
        reports.iter().filter_map(|report| self.add(optimizer, report)).collect()
    }

    /// The norms so far.
    #[must_use]
    pub fn norms(&self) -> &NormHistory {
        &self.norms
    }

    fn add(&mut self, optimizer: &Optimizer, report: &StepReport) -> Option<Record> {
        self.next.steps += 1;
        let is_clipped = report.clip_factor_per_group.iter().any(|factor| *factor != 1.0);
        self.next.clipped += u32::from(is_clipped && !report.skipped);
        if report.skipped {
            self.next.skipped.push(report.step);
        } else {
            self.norms.add(report.norm);
        }
        // The first of all comes before the step's own, if it is another.
        let first = report.first_non_finite.map(|first| (first.step, first.tensor));
        let own = report.non_finite.map(|tensor| (report.step, tensor));
        for (step, tensor) in first.into_iter().chain(own) {
            if step > self.told {
                let tensor = tensor_name(optimizer, tensor);
                self.next.non_finite.push(NonFiniteStep { step, tensor });
                self.told = step;
            }
        }
        let monitored = report.monitored.as_ref()?;
        let groups = optimizer.groups().iter().zip(&monitored.per_group).map(|(group, norms)| {
            RecordNorms { max_norm: group.max_norm, ..named(group.name.clone(), norms) }
        });
        // Those that were taken out have no name, and are not told.
        let tensors = optimizer.tensors().filter_map(|(id, spec)| {
            let norms = monitored.per_tensor.get(id.index())?;
            Some(named(spec.name.clone(), norms))
        });
        Some(Record {
            step: report.step,
            norm: report.norm,
            max_norm: optimizer.options.max_norm.filter(|max_norm| max_norm.is_finite()),
            clip_factor: report.clip_factor,
            loss_scale: report.loss_scale,
            suggested_max_norm: self.norms.suggested_max_norm(),
            groups: groups.collect(),
            tensors: tensors.collect(),
            ..std::mem::take(&mut self.next)
        })
    }
}

fn named(name: String, norms: &Norms) -> RecordNorms {
    RecordNorms {
        name,
        norm: norms.grad_norm,
        max_norm: None,
        update_norm: norms.update_norm,
        weight_norm: norms.weight_norm,
        update_ratio: norms.update_ratio(),
        lr: norms.lr,
    }
}

/// A tensor that was taken out since is told by its number.
fn tensor_name(optimizer: &Optimizer, id: TensorId) -> String {
    let mut tensors = optimizer.tensors();
    let known = tensors.find(|(other, _)| *other == id).map(|(_, spec)| spec.name.clone());
    known.unwrap_or_else(|| format!("tensor {}", id.index()))
}

/// The last norms of all gradients, and the limit that they suggest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NormHistory {
    /// The last at the end.
    norms: VecDeque<f32>,
}

impl NormHistory {
    /// As many are kept.
    pub const LEN: usize = 1000;
    /// From as many on, a limit is suggested.
    pub const LEAST: usize = 10;

    /// Adds the norm of another step. One that is not finite is left out.
    pub fn add(&mut self, norm: f32) {
        if norm.is_finite() {
            if self.norms.len() == Self::LEN {
                self.norms.pop_front();
            }
            self.norms.push_back(norm);
        }
    }

    /// The 90th percentile of the last 1,000 norms, by the nearest rank: [`max_norm`](crate::Options::max_norm) that would
    /// clip about a step of ten. (A percentile of the norms so far is what AutoClip clips to: Seetharaman et al. 2020,
    /// "AutoClip: Adaptive Gradient Clipping for Source Separation Networks".) `None` before there are ten.
    #[must_use]
    pub fn suggested_max_norm(&self) -> Option<f32> {
        if self.norms.len() < Self::LEAST {
            return None;
        }
        let mut norms: Vec<f32> = self.norms.iter().copied().collect();
        let rank = (norms.len() * 9).div_ceil(10) - 1;
        Some(*norms.select_nth_unstable_by(rank, f32::total_cmp).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_nearest_rank_of_the_last_thousand() {
        let mut history = NormHistory::default();
        // In no order: 7 is prime to 1000.
        let norms = |len: u16| (0..len).map(move |n| f32::from(n * 7 % len + 1));
        for norm in norms(9) {
            history.add(norm);
            history.add(f32::NAN);
            history.add(f32::INFINITY);
        }
        assert_eq!(history.suggested_max_norm(), None);
        history.add(10.0);
        assert_eq!(history.suggested_max_norm(), Some(9.0));
        history.add(11.0);
        assert_eq!(history.suggested_max_norm(), Some(10.0));
        norms(1000).for_each(|norm| history.add(norm));
        assert_eq!(history.suggested_max_norm(), Some(900.0));
        (0..1000).for_each(|_| history.add(0.5));
        assert_eq!(history.suggested_max_norm(), Some(0.5));
    }
}
