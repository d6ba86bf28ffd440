//! The learning rate of each step: the model's own course, or `--schedule` and `--warmup`.

use std::{f64::consts::PI, path::Path};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fallline::{
    Group, Optimizer,
    schedule::{AnySchedule, SchedulerState},
};
use serde::Serialize;
use toml::{Table, Value};

use super::models::Plan;
use crate::{
    config::schedules::Common,
    schedule::config::{self, parse},
    schedulers::{Moved, Schedulers},
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
    /// given. one_cycle and cyclic move momentum or β1 too. reduce_on_plateau and greedy go by the test loss of each row
    /// of the table
    #[arg(long, help_heading = HEADING, value_name = "KIND[,OPTION=VALUE…]|FILE.toml")]
    schedule: Option<String>,

    /// Steps that the learning rate rises linearly for, to what the schedule says [default: the model's, 0 with a
    /// --schedule]
    #[arg(long, help_heading = HEADING, value_name = "N")]
    pub(super) warmup: Option<u32>,
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

    /// The table that it is in a config, if there is one.
    pub(super) fn table(&self) -> Result<Option<Table>> {
        self.schedule.as_deref().map(table).transpose()
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
pub(super) fn of_length(table: Table, steps: u32) -> Result<AnySchedule> {
    let whole = |table| parse(table).ok().filter(|schedule| !lacks_length(schedule));
    let told = |option: &&str| {
        let mut table = table.clone();
        table.entry(*option).or_insert(i64::from(steps).into());
        whole(table)
    };
    let found = whole(table.clone()).or_else(|| LENGTHS.iter().find_map(told));
    found.map_or_else(|| parse(table), Ok)
}

/// Whether it has several ways to be told its length, and was told none.
fn lacks_length(schedule: &AnySchedule) -> bool {
    match schedule {
        AnySchedule::OneCycle(cycle) => cycle.total_steps.is_none() && cycle.epochs.is_none(),
        AnySchedule::WarmupStableDecay(wsd) => {
            wsd.num_training_steps.is_none() && wsd.num_stable_steps.is_none()
        }
        _ => false,
    }
}

/// What the user wants; the model decides about the rest.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Chosen {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schedule: Option<AnySchedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warmup: Option<u32>,
}

impl Chosen {
    /// The schedule of all groups: the one that is asked for, or the model's, which groups need not follow.
    pub(super) fn common(&self, plan: Plan) -> Common {
        let warmup = self.warmup.unwrap_or(plan.warmup_steps);
        match &self.schedule {
            Some(schedule) => Common::asked("--schedule", schedule.clone()),
            None => Common::default(MODELS, half_cosine(warmup, plan.steps)),
        }
    }

    /// The rates of a run whose groups move so.
    pub(super) fn rates(
        &self,
        plan: Plan,
        groups: &[Group],
        schedulers: Schedulers,
    ) -> Result<Rates> {
        let warmup = |place: Option<&str>| match place {
            // One that does not move has none.
            None => 0,
            Some(MODELS) => self.warmup.unwrap_or(plan.warmup_steps),
            Some(_) => self.warmup.unwrap_or(0),
        };
        let warmups: Vec<u32> = schedulers.places().map(warmup).collect();
        let moves = schedulers.places().any(|place| place.is_some());
        if let (Some(_), false, Some(first)) = (self.warmup, moves, groups.first()) {
            let why = Moved::Lr.base(&*first.rule).err();
            let why = why.unwrap_or_else(|| "no learning rate moves".to_owned());
            bail!("{why}, so that there is nothing for a warm-up");
        }
        let lrs = groups.iter().map(Group::lr).collect();
        Ok(Rates { schedulers, lrs, warmups, t: 0 })
    }
}

/// Where the schedule of a run comes from that was not asked for any.
const MODELS: &str = "the model's schedule";

/// 1 during the warm-up, then along a half cosine to 0.
fn half_cosine(warmup: u32, steps: u32) -> AnySchedule {
    let (warmup, decay) = (u64::from(warmup), f64::from(steps.saturating_sub(warmup).max(1)));
    AnySchedule::custom(move |t: u64| {
        (1.0 + (PI * t.saturating_sub(warmup) as f64 / decay).cos()) / 2.0
    })
}

/// What moves, and where it is.
#[derive(Debug)]
pub(super) struct Rates {
    schedulers: Schedulers,
    /// The learning rate of each group, if it has no schedule.
    lrs: Vec<f64>,
    /// For how many steps that of each group rises to what its schedule says.
    warmups: Vec<u32>,
    /// Steps that were recorded.
    t: u32,
}

impl Rates {
    /// The number of the next step, counted from 1.
    pub(super) fn next(&self) -> u32 {
        self.t + 1
    }

    /// That of each group in the next step.
    pub(super) fn lrs(&self) -> Vec<f64> {
        let next = self.next();
        let part = |warmup: u32| match next < warmup {
            true => f64::from(next) / f64::from(warmup),
            false => 1.0,
        };
        let lrs = self.schedulers.lrs(self.lrs.clone()).into_iter().zip(&self.warmups);
        lrs.map(|(lr, warmup)| lr * part(*warmup)).collect()
    }

    /// Gives groups the rules of the next step.
    pub(super) fn begin(&self, groups: &mut [Group]) -> Result<()> {
        self.schedulers.begin(groups)
    }

    /// Gives the optimizer's groups the rules of the next step.
    pub(super) fn set_rules(&self, optimizer: &mut Optimizer) -> Result<()> {
        self.schedulers.set_rules(optimizer)
    }

    /// A step was recorded.
    pub(super) fn step(&mut self) {
        self.t += 1;
        self.schedulers.step();
    }

    /// The loss of a test, for schedules that go by it.
    pub(super) fn observe(&mut self, loss: f64) {
        self.schedulers.observe(loss);
    }

    pub(super) fn states(&self) -> Vec<SchedulerState> {
        self.schedulers.states()
    }

    /// Goes on after `t` steps.
    pub(super) fn load_states(&mut self, t: u32, states: Vec<SchedulerState>) -> Result<()> {
        self.schedulers.load_states(states)?;
        self.t = t;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::schedules::Schedules, rule::RuleName, train::recipe};

    const PLAN: Plan = Plan { steps: 100, steps_per_round: 10, warmup_steps: 10 };

    fn chosen(schedule: Option<&str>, warmup: Option<u32>) -> Result<Chosen> {
        ScheduleArgs { schedule: schedule.map(str::to_owned), warmup }.chosen(PLAN.steps)
    }

    /// What moves two groups of this rule.
    fn rates(chosen: &Chosen, rule: &str, lr: f64) -> Result<Rates> {
        let groups = recipe::groups(RuleName::known(rule).unwrap(), lr);
        let schedules = Schedules::of_lrs(chosen.common(PLAN));
        let schedulers = Schedulers::new(&schedules, &groups, (&groups, &[0, 1]), PLAN.steps)?;
        chosen.rates(PLAN, &groups, schedulers)
    }

    fn lrs(chosen: &Chosen) -> Vec<f64> {
        let mut rates = rates(chosen, "adamw", 0.5).unwrap();
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
        for (given, rule, expected) in [
            ("cosine_annealing", "schedulefree_adamw", "schedulefree_adamw is schedule-free"),
            ("cosine_annealing", "rprop", "the learning rate of rprop is fixed"),
            ("one_cycle,max_lr=0.1", "adagrad", "add cycle_momentum=false"),
            ("one_cycle,max_lr=0.1,base_momentum=0", "sgd", "decay: sgd keeps a buffer"),
            (
                "cyclic,max_lr=0.1,max_momentum=1",
                "adam",
                "decay: betas[0] must be in [0, 1), found 1",
            ),
            ("exponential,gamma=-1", "adamw", "gamma"),
        ] {
            let error = rates(&chosen(Some(given), None).unwrap(), rule, 0.1).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{given}, {rule}: {error}");
        }
        let error = rates(&chosen(None, Some(5)).unwrap(), "rprop", 0.1).unwrap_err().to_string();
        assert_eq!(
            error,
            "the learning rate of rprop is fixed, so that there is nothing for a warm-up"
        );
    }

    #[test]
    fn momentum_moves_with_the_learning_rate() {
        for rule in ["adamw", "sgd", "lion", "adan"] {
            let cycle = "cyclic,max_lr=1.0,step_size_up=50,base_momentum=0.5,max_momentum=0.75";
            let mut rates = rates(&chosen(Some(cycle), Some(10)).unwrap(), rule, 0.5).unwrap();
            let mut groups = recipe::groups(RuleName::known(rule).unwrap(), 0.5);
            for (t, momentum) in [(0, 0.75), (25, 0.625), (50, 0.5)] {
                while rates.t < t {
                    rates.step();
                }
                rates.begin(&mut groups).unwrap();
                for group in &groups {
                    let expected = group.rule.with_momentum(momentum).unwrap();
                    assert_eq!(format!("{:?}", group.rule), format!("{expected:?}"));
                }
            }
            assert_eq!(rates.lrs(), [1.0, 1.0]);
        }
    }
}
