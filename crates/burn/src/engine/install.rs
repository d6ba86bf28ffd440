//! State into the engine and out of it: always through what it saves, so that it is exact in every format.

use std::{collections::HashMap, io, sync::Arc};

use burn::tensor::TensorData;
use fallline::{Dtype, Encoding, LoadOptions, SaveSink, Saved, SavedEntry, TensorId};

use super::Engine;
use crate::{
    Error, Result,
    record::{Entry, State},
};

/// What is saved of an optimizer whose parameters are saved with their module.
#[derive(Default)]
struct WithoutParams(Saved);

impl SaveSink for WithoutParams {
    fn wants_params(&self) -> bool {
        false
    }

    fn table(&mut self, entries: &[SavedEntry]) -> io::Result<()> {
        self.0.table(entries)
    }

    fn chunk(&mut self, entry: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.chunk(entry, offset, bytes)
    }
}

impl Engine {
    fn save(&self) -> Result<Saved> {
        let mut sink = WithoutParams::default();
        if let Some(optimizer) = &self.optimizer {
            optimizer.save(&mut sink)?;
        }
        Ok(sink.0)
    }

    /// Gives the optimizer the state that some of these slots have brought.
    pub(super) fn install(&mut self, slots: impl Iterator<Item = usize>) -> Result<()> {
        let mut brought: Vec<(usize, Arc<State>)> = Vec::new();
        for slot in slots {
            brought.extend(self.slots[slot].state.take().map(|state| (slot, state)));
        }
        if brought.is_empty() {
            return Ok(());
        }
        let installed = self.install_all(&brought);
        if installed.is_err() {
            // A step that is tried again brings it again.
            for (slot, state) in brought {
                self.slots[slot].state = Some(state);
            }
        }
        installed
    }

    fn install_all(&mut self, brought: &[(usize, Arc<State>)]) -> Result<()> {
        let mut saved = self.save()?;
        let numbers: HashMap<(Option<String>, String), usize> = saved
            .entries
            .iter()
            .enumerate()
            .map(|(number, entry)| ((entry.tensor.clone(), entry.what.clone()), number))
            .collect();
        for (slot, state) in brought {
            let slot = &self.slots[*slot];
            let rule = self.groups[slot.group].0.rule.name();
            let refused = |reason: String| Error::Record {
                parameter: slot.spec.name.clone(),
                rule: rule.to_owned(),
                reason,
            };
            let tensor = Some(slot.spec.name.clone());
            for entry in entries(state, rule, slot.id, self).map_err(refused)? {
                let Some(&number) = numbers.get(&(tensor.clone(), entry.what.clone())) else {
                    return Err(refused(format!("it has {}", entry.what)));
                };
                let expected = saved.entries[number].encoding;
                if !state.entries.is_empty() && entry.encoding != expected {
                    let Entry { what, encoding, .. } = entry;
                    return Err(refused(format!("its {what} is {encoding} and not {expected}")));
                }
                put(&mut saved, number, entry);
            }
            for entry in &state.shared {
                if let Some(&number) = numbers.get(&(None, entry.what.clone())) {
                    put(&mut saved, number, entry.clone());
                }
            }
        }
        let Some(optimizer) = &mut self.optimizer else { return Ok(()) };
        let options = LoadOptions::new().keep_params().convert();
        Ok(optimizer.load_with(&mut saved, options)?)
    }

    /// The state of a slot.
    pub(crate) fn state(&mut self, slot: usize) -> Result<State> {
        let slot = &self.slots[slot];
        let (Some(_), name) = (slot.id, slot.spec.name.clone()) else {
            return Ok(slot.state.as_deref().cloned().unwrap_or_default());
        };
        let of_slot = |entry: &SavedEntry| entry.tensor.as_ref() == Some(&name);
        let mut saved = match self.saved.take() {
            Some(saved) if saved.entries.iter().any(of_slot) => saved,
            _ => self.save()?,
        };
        let mut state = State::default();
        let mut others = Saved::default();
        for (entry, bytes) in saved.entries.drain(..).zip(saved.bytes.drain(..)) {
            if !of_slot(&entry) {
                let has_more = ["reports", "loss_scale"].contains(&entry.what.as_str());
                if entry.tensor.is_none() && has_more {
                    state.shared.push(own(&entry, bytes.clone()));
                }
                others.entries.push(entry);
                others.bytes.push(bytes);
                continue;
            }
            let count = || bytes.first_chunk::<4>().map(|word| u32::from_le_bytes(*word));
            match entry.what.as_str() {
                "step" => state.step = count(),
                "number" => state.number = count(),
                "rule" => {}
                _ => state.entries.push(own(&entry, bytes)),
            }
        }
        // What was handed out is not kept twice.
        self.saved = Some(others);
        Ok(state)
    }
}

fn own(entry: &SavedEntry, bytes: Vec<u8>) -> Entry {
    let SavedEntry { what, encoding, shape, .. } = entry.clone();
    Entry { what, encoding, shape, bytes }
}

fn put(saved: &mut Saved, number: usize, entry: Entry) {
    let known = &mut saved.entries[number];
    (known.encoding, known.shape) = (entry.encoding, entry.shape);
    known.size_bytes = entry.bytes.len() as u64;
    saved.bytes[number] = entry.bytes;
}

/// A state as entries of the optimizer's, or what is wrong with it.
fn entries(
    state: &State,
    rule: &str,
    id: Option<TensorId>,
    engine: &Engine,
) -> Result<Vec<Entry>, String> {
    let optimizer = engine.optimizer.as_ref().zip(id);
    let slots = optimizer.and_then(|(optimizer, id)| Some(optimizer.slots(id).ok()?.to_vec()));
    let slots = slots.unwrap_or_default();
    let mut entries = state.entries.clone();
    let mut leaves = state.leaves.iter().collect::<Vec<_>>();
    if state.entries.is_empty() {
        for slot in &slots {
            let leaf = State::leaf_of(rule, slot.name);
            let found = leaves.iter().position(|(known, _)| Some(*known) == leaf);
            let found = found.ok_or_else(|| format!("it lacks {}", slot.name))?;
            let (_, data) = leaves.remove(found);
            entries.push(numbers(slot.name, data)?);
        }
        if let Some((leaf, _)) = leaves.first() {
            return Err(format!("it has {leaf}"));
        }
    }
    let missing = slots.iter().map(|slot| format!("state/{}", slot.name));
    let mut missing = missing.filter(|what| entries.iter().all(|entry| entry.what != *what));
    if let Some(what) = missing.next() {
        return Err(format!("it lacks {what}"));
    }
    let count = |what: &str, count: u32| Entry {
        what: what.to_owned(),
        encoding: Encoding::Counts,
        shape: Vec::new(),
        bytes: count.to_le_bytes().to_vec(),
    };
    // Where Burn has no counter, nothing depends on it but whether there was a step.
    let step = state.step.unwrap_or(u32::from(!entries.is_empty()));
    entries.push(count("step", step));
    entries.extend(state.number.map(|number| count("number", number)));
    Ok(entries)
}

/// What Burn keeps of a parameter, in f32.
fn numbers(slot: &str, data: &TensorData) -> Result<Entry, String> {
    let data = data.clone().convert::<f32>();
    let values: Vec<f32> = data.iter::<f32>().collect();
    Ok(Entry {
        what: format!("state/{slot}"),
        encoding: Encoding::Numbers(Dtype::F32),
        shape: data.shape().to_vec(),
        bytes: Dtype::F32.encode(&values),
    })
}
