//! What Burn keeps for a parameter: who it is to the engine.

use std::sync::Arc;

use burn::{
    optim::{RecordState, StateSink, StateSource},
    tensor::Device,
};

use crate::{engine::Ticket, record::State};

/// The state of a parameter, which lies in the engine, or comes from a record.
///
/// As a record it is what Burn's own optimizer would have written, where Burn has the rule and the state is f32: each
/// goes on from the other's. Else it is what the engine saves, codes and scales of low-bit state as they are.
#[derive(Clone, Debug)]
pub struct FusedState(pub(crate) Kept);

#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// By the engine.
    Held(Arc<Ticket>),
    /// By nobody yet.
    Brought(Arc<State>),
}

impl RecordState for FusedState {
    /// # Panics
    /// If the device is lost: this has no place for an error, and a record without its state would be worse.
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        match &self.0 {
            Kept::Brought(state) => state.flatten("", prefix, out),
            Kept::Held(ticket) => {
                let mut engine = ticket.shared.engine();
                let rule = engine.rule_of(ticket.slot);
                match engine.state(ticket.slot) {
                    Ok(state) => state.flatten(rule, prefix, out),
                    Err(error) => panic!("the state of an optimizer cannot be read: {error}"),
                }
            }
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _: &Device) -> Option<Self> {
        Some(Self(Kept::Brought(Arc::new(State::unflatten(prefix, src)))))
    }
}
