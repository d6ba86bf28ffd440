//! In which steps a group is frozen.

use anyhow::ensure;
use serde::Deserialize;
use toml::{Table, Value};

use crate::table::{one_line, split_off};

/// From one step to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Frozen {
    from_step: u32,
    to_step: u32,
}

impl Default for Frozen {
    /// Always.
    fn default() -> Self {
        Self { from_step: 1, to_step: u32::MAX }
    }
}

impl Frozen {
    /// Takes `frozen` out of a table: true, false, or a table of the first and the last step.
    pub(super) fn split_off(table: &mut Table) -> anyhow::Result<Option<Self>> {
        if let Some(Value::Boolean(on)) = table.get("frozen") {
            let frozen = on.then(Self::default);
            table.remove("frozen");
            return Ok(frozen);
        }
        #[derive(Deserialize)]
        struct Own {
            frozen: Option<Table>,
        }
        let Own { frozen } = split_off(table, &["frozen"])?;
        let Some(frozen) = frozen else { return Ok(None) };
        let frozen: Self = frozen.try_into().map_err(|error| one_line(&error).context("frozen"))?;
        let Self { from_step, to_step } = frozen;
        ensure!(from_step >= 1, "frozen: from_step must be >= 1, found 0");
        ensure!(
            to_step >= from_step,
            "frozen: to_step must be >= from_step, which is {from_step}, found {to_step}"
        );
        Ok(Some(frozen))
    }

    /// Whether step `t`, counted from 1, is one of them.
    pub(crate) fn is_in(self, t: u32) -> bool {
        (self.from_step..=self.to_step).contains(&t)
    }
}
