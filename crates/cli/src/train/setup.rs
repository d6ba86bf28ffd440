//! What an optimizer is built of: groups, tensors, and what moves.

use anyhow::{Error, Result};
use fallline::{Gpu, Group, Options};

use super::{models::Model, recipe, run::Settings, schedule::Rates};
use crate::{
    config::{Assigned, schedules::Schedules},
    rule::RuleName,
    schedulers::Schedulers,
};

/// An optimizer that is not built.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) assigned: Assigned,
    pub(super) rates: Rates,
}

impl Settings {
    /// That of a rule with this learning rate; or of a file, which says both.
    pub(super) fn setup(&self, model: &dyn Model, (rule, lr): (RuleName, f64)) -> Result<Setup> {
        let plan = model.plan();
        let (assigned, schedulers) = match &self.config {
            Some(configured) => {
                let assigned = configured.assign(model)?;
                let schedulers = configured.schedulers(&assigned.groups, plan.steps)?;
                (assigned, schedulers)
            }
            None => {
                let specs = model.tensors().into_iter().map(|spec| self.numerics.spec(spec));
                let groups = recipe::groups(rule, lr).into_iter();
                let groups = groups.map(|group| self.around.of(self.numerics.group(group)));
                let assigned = Assigned::new(specs.collect(), groups.collect());
                let (groups, numbers) = (&assigned.groups, [0, 1]);
                let schedules = Schedules::of_lrs(self.schedule.common(plan));
                let schedulers =
                    Schedulers::new(&schedules, groups, (groups, &numbers), plan.steps)?;
                (assigned, schedulers)
            }
        };
        let rates = self.schedule.rates(plan, &assigned.groups, schedulers);
        Ok(Setup { rates: rates.map_err(|error| self.named(error))?, assigned })
    }

    /// An error of what the run is configured with, which a file may be.
    pub(super) fn named(&self, error: Error) -> Error {
        match &self.config {
            Some(configured) => error.context(configured.name().to_owned()),
            None => error,
        }
    }

    /// The options of an optimizer, with a loss scaler of its own.
    pub(super) fn options(&self, gpu: &Gpu) -> Result<Options> {
        let seed = rounding_seed(self.seed);
        let options = match &self.config {
            Some(configured) => configured.config.options(gpu, seed)?,
            None => self.numerics.options(gpu, seed)?,
        };
        Ok(Options { monitor: self.monitor, ..options })
    }

    /// The learning rate of each of these groups where the run's is this one.
    pub(super) fn lrs_at(&self, groups: &[Group], lr: f64) -> Result<Vec<f64>> {
        match &self.config {
            Some(configured) => configured.config.rates(groups, Some(&[lr])),
            None => Ok(vec![lr; groups.len()]),
        }
    }
}

/// Both halves of the seed in the 32 bits that the engine takes.
fn rounding_seed(seed: u64) -> u32 {
    u32::try_from((seed ^ (seed >> 32)) & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
