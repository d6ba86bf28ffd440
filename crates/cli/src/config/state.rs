//! In which format a group keeps its state.

use fallline::{Group, StateFormat};
use serde::Deserialize;
use toml::Table;

use crate::table::split_off;

/// What a table says about the state beside its rule.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeptState {
    state: Option<StateFormat>,
    min_state_elems: Option<u64>,
}

impl KeptState {
    /// Takes its keys out of the table: unlike a rule's options, a group of another rule inherits them.
    pub(super) fn split_off(table: &mut Table) -> anyhow::Result<Self> {
        split_off(table, &["state", "min_state_elems"])
    }

    /// With the base's word where it says nothing itself.
    pub(super) fn or(self, base: Self) -> Self {
        Self {
            state: self.state.or(base.state),
            min_state_elems: self.min_state_elems.or(base.min_state_elems),
        }
    }

    /// The group with its state kept so; as it is where nothing is said.
    pub(super) fn of(self, group: Group) -> Group {
        let state = self.state.unwrap_or(group.state);
        let min_state_elems = self.min_state_elems.unwrap_or(group.min_state_elems);
        group.state(state).min_state_elems(min_state_elems)
    }
}
