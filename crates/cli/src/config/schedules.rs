//! What moves from step to step: `[schedule]` and `[weight_decay_schedule]`, which all groups follow, and the keys by
//! which a group follows its own.

use anyhow::{Context, bail, ensure};
use fallline::schedule::AnySchedule;
use toml::{Table, Value};

use crate::{around::Choice, schedule::config::Given};

/// How a table is read that says a schedule.
pub(crate) type Read<'a> = dyn Fn(Table) -> anyhow::Result<Given> + 'a;

/// The schedules of learning rates, and those of weight decays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedules {
    pub(crate) lr: Followed,
    pub(crate) weight_decay: Followed,
}

/// The schedule of one number of each group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followed {
    /// Of all groups that say nothing themselves.
    pub(crate) common: Option<Common>,
    /// Of each configured group, the base first; off if it stays as it is.
    pub(crate) own: Vec<Option<Choice<Given>>>,
}

/// A schedule for all groups, and where it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) place: String,
    pub(crate) given: Given,
    /// Whether it is no error that no group can follow it.
    pub(crate) is_default: bool,
}

impl Common {
    /// One that was asked for there.
    pub(crate) fn asked(place: &str, schedule: AnySchedule) -> Self {
        Self { place: place.to_owned(), given: Given::new(schedule), is_default: false }
    }

    /// One that nobody asked for.
    pub(crate) fn default(place: &str, schedule: AnySchedule) -> Self {
        Self { is_default: true, ..Self::asked(place, schedule) }
    }
}

/// The key of learning rates, which move with the momentum, and that of weight decays.
pub(crate) const KEYS: [&str; 2] = ["schedule", "weight_decay_schedule"];

impl Schedules {
    /// One for all learning rates.
    pub(crate) fn of_lrs(common: Common) -> Self {
        Self { lr: Followed { common: Some(common), own: Vec::new() }, ..Self::default() }
    }

    /// Those that all groups follow.
    pub(super) fn common(tables: [Option<Table>; 2], read: &Read<'_>) -> anyhow::Result<Self> {
        let [lr, weight_decay] = tables;
        let common = |key: &str, table: Option<Table>| {
            let Some(table) = table else { return Ok(None) };
            let place = format!("[{key}]");
            let given = given(table, read).with_context(|| place.clone())?;
            anyhow::Ok(Some(Common { place, given, is_default: false }))
        };
        let followed = |common| Followed { common, own: vec![None] };
        Ok(Self {
            lr: followed(common(KEYS[0], lr)?),
            weight_decay: followed(common(KEYS[1], weight_decay)?),
        })
    }

    /// Takes what the next group says out of its table.
    pub(super) fn split_off(&mut self, table: &mut Table, read: &Read<'_>) -> anyhow::Result<()> {
        let [lr, weight_decay] = KEYS;
        self.lr.own.push(own(table, lr, read)?);
        self.weight_decay.own.push(own(table, weight_decay, read)?);
        Ok(())
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        [&self.lr, &self.weight_decay].into_iter().any(|followed| {
            let mut own = followed.own.iter();
            followed.common.is_some() || own.any(|own| matches!(own, Some(Choice::On(_))))
        })
    }

    /// Whether the base says nothing, which would be for its own tensors alone.
    pub(super) fn check_base(table: &Table) -> anyhow::Result<()> {
        for key in KEYS {
            let expected = "a table of the file, for all groups, or a key of a [[group]]";
            ensure!(!table.contains_key(key), "{key} must be {expected}");
        }
        Ok(())
    }
}

fn own(table: &mut Table, key: &str, read: &Read<'_>) -> anyhow::Result<Option<Choice<Given>>> {
    match table.remove(key) {
        None => Ok(None),
        Some(Value::Boolean(false)) => Ok(Some(Choice::Off)),
        Some(Value::Table(table)) => {
            let given = given(table, read).with_context(|| key.to_owned())?;
            Ok(Some(Choice::On(given)))
        }
        Some(other) => bail!("{key} must be a table, or false, found {other}"),
    }
}

fn given(table: Table, read: &Read<'_>) -> anyhow::Result<Given> {
    ensure!(
        !table.contains_key("base_lrs"),
        "base_lrs has no meaning here: each group begins from its own lr, or weight_decay"
    );
    read(table)
}
