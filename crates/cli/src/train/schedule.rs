//! The learning rate of each step: the model's own course, or `--schedule` and `--warmup`.

use std::{f64::consts::PI, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use fallline::schedule::{AnySchedule, Scheduler, SchedulerState};
use serde::Serialize;
use toml::{Table, Value};

use super::models::{GROUPS, Plan};
use crate::{
    rule::RuleName,
    schedule::config::{self, parse},
    table::one_line,
};

const HEADING: &str = "Learning rate";

/// Options that say for how many steps a schedule is, by which it is the run's unless they are given.
const LENGTHS: [&str; 3] = ["num_training_steps", "T_max", "total_steps"];

/// The options, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ScheduleArgs {
    /// Let the learning rate, from --lr on, follow one of the kinds of `fallline schedule --help` instead of the model's
    /// half cosine: by its name and options, or the table [schedule] of a file. Its length is the run's unless
    /// given. reduce_on_plateau and greedy go by the test loss of each row of the table
    #[arg(long, help_heading = HEADING, value_name = "KIND[,OPTION=VALUE…]|FILE.toml")]
    schedule: Option<String>,

    /// Steps that the learning rate rises linearly for, to what the schedule says [default: the model's, 0 with a
    /// --schedule]
    #[arg(long, help_heading = HEADING, value_name = "N")]
    warmup: Option<u32>,
}

impl ScheduleArgs {
    /// What is asked for, for runs of so many steps.
    pub(super) fn chosen(&self, steps: u32) -> Result<Chosen> {
        let read = |given: &String| {
            let schedule = table(given).and_then(|table| of_length(table, steps));
            schedule.with_context(|| format!("--schedule {given}"))
        };
        let schedule = self.schedule.as_ref().map(read).transpose()?;
        Ok(Chosen { schedule, warmup: self.warmup })
    }
}

/// The table that a kind with options is, or a file has.
fn table(given: &str) -> Result<Table> {
    let is_file = Path::new(given).extension().is_some_and(|extension| extension == "toml");
    if is_file {
        let text = std::fs::read_to_string(given).context("cannot read it")?;
        let table = config::table(&text)?;
        for key in ["base_lrs", "metrics"] {
            let instead = "--lr is the base, and metrics are the test losses";
            ensure!(!table.contains_key(key), "{key} has no meaning for train: {instead}");
        }
        return Ok(table);
    }
    let (kind, options) = given.split_once(',').unwrap_or((given, ""));
    let options = format!("options = {{ {options} }}");
    let mut options: Table = toml::from_str(&options).map_err(|error| one_line(&error))?;
    let Some(Value::Table(mut table)) = options.remove("options") else {
        return Err(anyhow!("expected KIND,OPTION=VALUE"));
    };
    table.insert("kind".to_owned(), kind.into());
    Ok(table)
}

/// The schedule of a table, for so many steps if it must be told and is not.
fn of_length(table: Table, steps: u32) -> Result<AnySchedule> {
    let whole = |table| parse(table).ok().filter(|schedule| schedule.check(&bases(1.0)).is_ok());
    let told = |option: &&str| {
        let mut table = table.clone();
        table.entry(*option).or_insert(i64::from(steps).into());
        whole(table)
    };
    let found = whole(table.clone()).or_else(|| LENGTHS.iter().find_map(told));
    found.map_or_else(|| parse(table), Ok)
}

/// The learning rate that each group begins with.
fn bases(lr: f64) -> [f64; GROUPS.len()] {
    [lr; GROUPS.len()]
}

/// What the user wants; the model decides about the rest.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Chosen {
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<AnySchedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warmup: Option<u32>,
}

impl Chosen {
    /// Whether the rule can follow it from this learning rate on.
    pub(super) fn check(&self, rule: RuleName, lr: f64) -> Result<()> {
        let option = match (&self.schedule, self.warmup) {
            (None, None) => return Ok(()),
            (Some(_), _) => "--schedule",
            (None, Some(_)) => "--warmup",
        };
        let (rule_of_it, no) = (rule.rule(), "so that there is nothing for");
        ensure!(!rule_of_it.has_fixed_lr(), "the learning rate of {rule} is fixed, {no} {option}");
        ensure!(!rule_of_it.evaluates(), "{rule} is schedule-free, {no} {option}");
        if let Some(schedule) = &self.schedule {
            let scheduler = Scheduler::new(schedule.clone(), bases(lr))?;
            let kind = schedule.kind();
            ensure!(
                scheduler.momentum(0).is_none(),
                "--schedule {kind} moves the momentum, which train leaves alone: add cycle_momentum=false"
            );
        }
        Ok(())
    }

    /// The rates of a run whose groups all begin with this learning rate.
    pub(super) fn rates(&self, plan: Plan, (rule, lr): (RuleName, f64)) -> Result<Rates> {
        let rule = rule.rule();
        let (schedule, warmup) = match &self.schedule {
            // A rule that says where it is evaluated has no use for a schedule.
            _ if rule.evaluates() || rule.has_fixed_lr() => (AnySchedule::custom(|_| 1.0), 0),
            Some(schedule) => (schedule.clone(), self.warmup.unwrap_or(0)),
            None => {
                let warmup = self.warmup.unwrap_or(plan.warmup_steps);
                (half_cosine(warmup, plan.steps), warmup)
            }
        };
        Ok(Rates { scheduler: Scheduler::new(schedule, bases(lr))?, warmup })
    }
}

/// 1 during the warm-up, then along a half cosine to 0.
fn half_cosine(warmup: u32, steps: u32) -> AnySchedule {
    let (warmup, decay) = (u64::from(warmup), f64::from(steps.saturating_sub(warmup).max(1)));
    AnySchedule::custom(move |t: u64| {
        (1.0 + (PI * t.saturating_sub(warmup) as f64 / decay).cos()) / 2.0
    })
}

/// Where the learning rate is.
#[derive(Debug)]
pub(super) struct Rates {
    scheduler: Scheduler,
    warmup: u32,
}

impl Rates {
    /// That of each group in the next step.
    pub(super) fn lrs(&self) -> Vec<f64> {
        let (next, warmup) = (self.scheduler.t() + 1, u64::from(self.warmup));
        let part = if next < warmup { next as f64 / warmup as f64 } else { 1.0 };
        self.scheduler.lrs().iter().map(|lr| lr * part).collect()
    }

    /// A step was recorded.
    pub(super) fn step(&mut self) {
        self.scheduler.step();
    }

    /// The loss of a test, for schedules that go by it.
    pub(super) fn observe(&mut self, loss: f64) {
        self.scheduler.observe(loss);
    }

    pub(super) fn state(&self) -> &SchedulerState {
        self.scheduler.state()
    }

    pub(super) fn load_state(&mut self, state: SchedulerState) -> Result<()> {
        Ok(self.scheduler.load_state(state)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { steps: 100, steps_per_round: 10, warmup_steps: 10 };

    fn chosen(schedule: Option<&str>, warmup: Option<u32>) -> Result<Chosen> {
        ScheduleArgs { schedule: schedule.map(str::to_owned), warmup }.chosen(PLAN.steps)
    }

    fn lrs(chosen: &Chosen) -> Vec<f64> {
        let mut rates = chosen.rates(PLAN, (RuleName::ADAMW, 0.5)).unwrap();
        let next = |_| {
            let lr = rates.lrs()[0];
            rates.step();
            lr
        };
        (0..PLAN.steps).map(next).collect()
    }

    #[test]
    fn unless_asked_for_the_rate_follows_the_model() {
        let found = lrs(&chosen(None, None).unwrap());
        assert_eq!((found[0], found[8], found[9], found[10]), (0.05, 0.45, 0.5, 0.5));
        assert!((found[55] - 0.25).abs() < 1e-12 && found[99] < 1e-3, "{found:?}");
        let found = lrs(&chosen(None, Some(0)).unwrap());
        assert_eq!((found[0], found[50]), (0.5, 0.25));
        // A run that ends within its warm-up.
        assert_eq!(lrs(&chosen(None, Some(200)).unwrap())[99], 0.25);
    }

    #[test]
    fn a_schedule_takes_options_and_the_length_of_the_run() {
        let found = lrs(&chosen(Some("cosine_annealing"), None).unwrap());
        assert_eq!((found[0], found[50]), (0.5, 0.25));
        let found = lrs(&chosen(Some("cosine_annealing,T_max=50,eta_min=0.1"), None).unwrap());
        assert_eq!(found[50], 0.1);
        let found = lrs(&chosen(Some("multi_step,milestones=[3,6],gamma=0.5"), Some(2)).unwrap());
        assert_eq!(found[..7], [0.25, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]);
        for schedule in ["linear_with_warmup", "wsd,num_decay_steps=100,decay_type=\"linear\""] {
            assert_eq!(lrs(&chosen(Some(schedule), None).unwrap())[50], 0.25, "{schedule}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (given, expected) in [
            ("cosin", "unknown variant `cosin`"),
            ("cosine_annealing,tmax=3", "tmax"),
            ("step", "step_size"),
            ("step,step_size", "--schedule step,step_size"),
            ("missing.toml", "cannot read it"),
        ] {
            let error = format!("{:#}", chosen(Some(given), None).unwrap_err());
            assert!(error.contains(expected), "{given}: {error}");
        }
        let check = |given: &str, rule| {
            let rule = RuleName::known(rule).unwrap();
            let error = chosen(Some(given), None).unwrap().check(rule, 0.1).unwrap_err();
            format!("{error:#}")
        };
        for (given, rule, expected) in [
            ("cosine_annealing", "schedulefree_adamw", "schedulefree_adamw is schedule-free"),
            ("cosine_annealing", "rprop", "the learning rate of rprop is fixed"),
            ("one_cycle,max_lr=0.1", "adamw", "add cycle_momentum=false"),
            ("exponential,gamma=-1", "adamw", "gamma"),
        ] {
            let error = check(given, rule);
            assert!(error.contains(expected), "{given}, {rule}: {error}");
        }
    }
}
