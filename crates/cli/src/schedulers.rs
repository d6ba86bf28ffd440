//! What moves from step to step: the learning rate, the momentum and the weight decay of each group.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fallline::{
    Group, Optimizer, OutOfRange, Rule, TensorSpec,
    schedule::{AnySchedule, Scheduler, SchedulerState},
};

use crate::{
    around::Choice,
    config::schedules::{Followed, KEYS, Schedules},
    schedule::config::Given,
};

/// Schedules on their way, and which groups of an optimizer follow them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedulers {
    tracks: Vec<Track>,
    followers: Vec<Follower>,
}

#[derive(Clone, Debug)]
struct Track {
    /// Where it was asked for.
    place: String,
    scheduler: Scheduler,
    /// What it is given after each step, as long as there are any.
    metrics: Vec<f64>,
}

impl Track {
    fn new(place: String, given: &Given, moved: Moved, bases: Vec<f64>) -> Result<Self> {
        let Given { schedule, metrics } = given;
        ensure!(
            matches!(moved, Moved::Lr) || !moves_momentum(schedule),
            "{place}: {} would move the momentum too: add cycle_momentum=false",
            schedule.kind()
        );
        let scheduler = Scheduler::new(schedule.clone(), bases).with_context(|| place.clone())?;
        Ok(Self { place, scheduler, metrics: metrics.clone() })
    }
}

/// A number's place: the track, and which of its rates it is.
type Place = (usize, usize);

/// A group of the optimizer.
#[derive(Clone, Debug)]
struct Follower {
    name: String,
    /// As it is configured.
    rule: Arc<dyn Rule>,
    lr_scale: f64,
    lr: Option<Place>,
    weight_decay: Option<Place>,
    moves_momentum: bool,
}

/// What follows a schedule.
#[derive(Clone, Copy)]
pub(crate) enum Moved {
    Lr,
    WeightDecay,
}

impl Moved {
    fn key(self) -> &'static str {
        match self {
            Self::Lr => KEYS[0],
            Self::WeightDecay => KEYS[1],
        }
    }

    /// What a rule begins with; or why it does not move.
    pub(crate) fn base(self, rule: &dyn Rule) -> Result<f64, String> {
        let name = rule.name();
        match self {
            Self::Lr if rule.has_fixed_lr() => Err(format!("the learning rate of {name} is fixed")),
            Self::Lr if rule.evaluates() => Err(format!("{name} is schedule-free")),
            Self::Lr => Ok(rule.lr()),
            Self::WeightDecay => match rule.weight_decay() {
                None => Err(format!("{name} has no weight decay")),
                Some(0.0) => Err("its weight decay is 0".to_owned()),
                Some(decay) => Ok(decay),
            },
        }
    }
}

impl Schedulers {
    /// Before the first of these steps. Schedules are for groups as they are configured; each of the optimizer's is one of
    /// these, or a part of one, by its number.
    pub(crate) fn new(
        schedules: &Schedules,
        configured: &[Group],
        (groups, numbers): (&[Group], &[usize]),
        steps: u32,
    ) -> Result<Self> {
        let mut tracks = Vec::new();
        let lrs = follow(&schedules.lr, Moved::Lr, configured, &mut tracks)?;
        let decays = follow(&schedules.weight_decay, Moved::WeightDecay, configured, &mut tracks)?;
        let follower = |(group, number): (&Group, &usize)| Follower {
            name: group.name.clone(),
            rule: group.rule.clone(),
            lr_scale: group.lr_scale,
            lr: lrs[*number],
            // A part of a group may be exempt from its decay.
            weight_decay: decays[*number].filter(|_| Moved::WeightDecay.base(&*group.rule).is_ok()),
            moves_momentum: lrs[*number]
                .is_some_and(|(track, _)| moves_momentum(tracks[track].scheduler.schedule())),
        };
        let followers = groups.iter().zip(numbers).map(follower).collect();
        let schedulers = Self { tracks, followers };
        schedulers.check(steps)?;
        Ok(schedulers)
    }

    /// The learning rate of each group in the next step: that of its schedule, or if it has none this one.
    pub(crate) fn lrs(&self, mut lrs: Vec<f64>) -> Vec<f64> {
        for (lr, follower) in lrs.iter_mut().zip(&self.followers) {
            if let Some((track, index)) = follower.lr {
                *lr = self.tracks[track].scheduler.lrs()[index] * follower.lr_scale;
            }
        }
        lrs
    }

    /// Where the schedule of each group's learning rate was asked for, if it has one.
    pub(crate) fn places(&self) -> impl Iterator<Item = Option<&str>> {
        let place = |(track, _): Place| self.tracks[track].place.as_str();
        self.followers.iter().map(move |follower| follower.lr.map(place))
    }

    /// What each group's learning rate and its weight decay follow, in words; empty if neither moves.
    pub(crate) fn in_words(&self) -> impl Iterator<Item = String> {
        let along = |what: &str, place: Option<Place>| {
            let Some((track, _)) = place else { return String::new() };
            let kind = match self.tracks[track].scheduler.schedule() {
                AnySchedule::Custom(_) => &self.tracks[track].place,
                schedule => schedule.kind(),
            };
            format!("{what} along {kind}")
        };
        self.followers.iter().map(move |Follower { lr, weight_decay, .. }| {
            along("", *lr) + &along(", weight decay", *weight_decay)
        })
    }

    /// Gives groups the rules of the next step.
    pub(crate) fn begin(&self, groups: &mut [Group]) -> Result<()> {
        for (group, follower) in groups.iter_mut().zip(&self.followers) {
            if let Some(rule) = self.rule(follower)? {
                group.rule = rule;
            }
        }
        Ok(())
    }

    /// Gives the optimizer's groups the rules of the next step.
    pub(crate) fn set_rules(&self, optimizer: &mut Optimizer) -> Result<()> {
        for follower in &self.followers {
            if let Some(rule) = self.rule(follower)? {
                optimizer.set_rule(&follower.name, rule)?;
            }
        }
        Ok(())
    }

    /// A step was recorded.
    pub(crate) fn step(&mut self) {
        for Track { scheduler, metrics, .. } in &mut self.tracks {
            let metric = usize::try_from(scheduler.t()).ok().and_then(|t| metrics.get(t));
            if let Some(metric) = metric {
                scheduler.observe(*metric);
            }
            scheduler.step();
        }
    }

    /// The loss of a test, for schedules that go by it.
    pub(crate) fn observe(&mut self, loss: f64) {
        self.tracks.iter_mut().for_each(|track| track.scheduler.observe(loss));
    }

    /// Where each schedule is, for a checkpoint.
    pub(crate) fn states(&self) -> Vec<SchedulerState> {
        self.tracks.iter().map(|track| track.scheduler.state().clone()).collect()
    }

    /// Goes on from there.
    pub(crate) fn load_states(&mut self, states: Vec<SchedulerState>) -> Result<()> {
        let (expected, found) = (self.tracks.len(), states.len());
        ensure!(expected == found, "the run has {expected} schedules, found {found}");
        for (track, state) in self.tracks.iter_mut().zip(states) {
            track.scheduler.load_state(state)?;
        }
        Ok(())
    }

    /// A group's rule in the next step, if anything of it moves.
    fn rule(&self, follower: &Follower) -> Result<Option<Arc<dyn Rule>>> {
        let Follower { name, rule, lr, weight_decay, moves_momentum, .. } = follower;
        if !moves_momentum && weight_decay.is_none() {
            return Ok(None);
        }
        let mut rule = Arc::clone(rule);
        if let Some((track, index)) = *lr {
            let Track { place, scheduler, .. } = &self.tracks[track];
            if let Some(momentum) = scheduler.momentum(index) {
                let (kind, rule_name) = (scheduler.schedule().kind(), rule.name());
                rule = rule.with_momentum(momentum).with_context(|| {
                    format!(
                        "{place}: {kind} moves the momentum, and {rule_name}, the rule of {name}, has none \
                         that moves: add cycle_momentum=false"
                    )
                })?;
            }
        }
        if let Some((track, index)) = *weight_decay {
            let decay = self.tracks[track].scheduler.lrs()[index];
            rule = rule.with_weight_decay(decay).context("a weight decay moves that there is")?;
        }
        Ok(Some(rule))
    }

    /// Whether every rule can take what it is given in these steps, without keeping more or less for it.
    fn check(&self, steps: u32) -> Result<()> {
        let tensor = TensorSpec::new("scalar", []);
        let kept = |rule: &dyn Rule| (rule.switches(&tensor), rule.slots(&tensor));
        for follower in &self.followers {
            let Some(first) = self.rule(follower)? else { continue };
            let mut ahead = self.clone();
            for t in 1..=steps {
                let Some(rule) = ahead.rule(follower)? else { break };
                let name = &follower.name;
                rule.check().map_err(|OutOfRange { name: what, expected, found }| {
                    anyhow!("{name}: {what} must be {expected}, found {found} in step {t}")
                })?;
                ensure!(
                    kept(&*rule) == kept(&*first),
                    "{name}: {} keeps a buffer for a momentum that is not 0, and in step {t} that \
                     comes or goes",
                    rule.name()
                );
                ahead.step();
            }
        }
        Ok(())
    }
}

/// The place of each configured group among the tracks, to which it adds.
fn follow(
    followed: &Followed,
    moved: Moved,
    configured: &[Group],
    tracks: &mut Vec<Track>,
) -> Result<Vec<Option<Place>>> {
    let own = |number: usize| followed.own.get(number).and_then(Option::as_ref);
    let mut places = vec![None; configured.len()];
    if let Some(common) = &followed.common {
        let place = &common.place;
        let free = (0..configured.len()).filter(|number| own(*number).is_none());
        let bases: Vec<(usize, Result<f64, String>)> =
            free.map(|number| (number, moved.base(&*configured[number].rule))).collect();
        let able: Vec<(usize, f64)> =
            bases.iter().filter_map(|(n, base)| Some((*n, *base.as_ref().ok()?))).collect();
        if let (true, Some((_, Err(why)))) = (able.is_empty() && !common.is_default, bases.first())
        {
            bail!("{why}, so that there is nothing for {place}");
        }
        for (index, (number, _)) in able.iter().enumerate() {
            places[*number] = Some((tracks.len(), index));
        }
        if !able.is_empty() {
            let bases = able.iter().map(|(_, base)| *base).collect();
            tracks.push(Track::new(place.clone(), &common.given, moved, bases)?);
        }
    }
    for (number, group) in configured.iter().enumerate() {
        let Some(Choice::On(given)) = own(number) else { continue };
        let place = format!("{}: {}", group.name, moved.key());
        let base = moved.base(&*group.rule).map_err(|why| anyhow!("{place}: {why}"))?;
        places[number] = Some((tracks.len(), 0));
        tracks.push(Track::new(place, given, moved, vec![base])?);
    }
    Ok(places)
}

/// Whether there is a step for which it has a momentum.
fn moves_momentum(schedule: &AnySchedule) -> bool {
    match schedule {
        AnySchedule::OneCycle(cycle) => cycle.cycle_momentum,
        AnySchedule::Cyclic(cycle) => cycle.cycle_momentum,
        AnySchedule::Sequential(sequence) => sequence.schedulers.iter().any(moves_momentum),
        AnySchedule::Chained(chain) => chain.schedulers.iter().any(moves_momentum),
        _ => false,
    }
}
