//! Taking up what was saved.

use std::io;

use super::{
    Encoding, LoadSource, SavedEntry, check,
    entries::decode,
    pieces::{self, Piece},
};
use crate::{Dtype, Error, Mode, Optimizer, Result, TensorId, remainder, slot, transfer};

/// How to take up what was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Whether what was saved in other formats is converted: state through its values, parameters through
    /// theirs with what was kept beside them. The run is then not the same to the bit.
    pub convert: bool,
    /// Whether parameters stay as they are, also those that were saved: the caller has brought those that belong to what is
    /// loaded. Master copies and remainders are loaded.
    pub keep_params: bool,
}

impl LoadOptions {
    /// Only what was saved in the formats of this optimizer.
    #[must_use]
    pub const fn new() -> Self {
        Self { convert: false, keep_params: false }
    }

    /// Converts what was saved in other formats.
    #[must_use]
    pub const fn convert(mut self) -> Self {
        self.convert = true;
        self
    }

    /// Leaves parameters as they are.
    #[must_use]
    pub const fn keep_params(mut self) -> Self {
        self.keep_params = true;
        self
    }
}

/// What is loaded beside the pieces.
#[derive(Debug, Default)]
struct Small {
    seed: u32,
    mode: Mode,
    reports: Option<[u32; 2]>,
    scale: Option<Vec<u8>>,
    /// By tensor.
    steps: Vec<u32>,
    numbers: Vec<u32>,
}

impl Optimizer {
    /// Takes up what [`save_to`](Self::save_to) saved, of an optimizer with the same tensors by name and
    /// shape, rules and formats; groups, hyperparameters and places may differ.
    ///
    /// What only some optimizers keep count of, and what earlier releases did not save, has a default: how many steps were
    /// skipped is not known of an optimizer that measured no gradients, and none were.
    ///
    /// No step may be recorded and not yet submitted. What is missing, unexpected, of another shape,
    /// rule or format is found before anything is written. If the source or the device fails later,
    /// the optimizer has a part of what was saved: load again before its next step.
    ///
    /// What was saved in the mode to evaluate is loaded so: [`eval`](Self::eval) comes last, and
    /// [`train`](Self::train) gives the parameters back to the bit. The optimizer itself must be in the mode to train.
    ///
    /// # Errors
    /// [`Error::SavedMissing`], [`Error::SavedUnexpected`], [`Error::SavedDiffers`], or all of them at once
    /// ([`Error::SavedMismatches`]); [`Error::Source`],
    /// [`Error::Evaluating`]; [`Error::BufferUsage`] for a borrowed parameter without COPY_DST. Those of
    /// [`eval`](Self::eval), when all else is loaded.
    pub async fn load_from<S: LoadSource + ?Sized>(
        &mut self,
        source: &mut S,
        options: LoadOptions,
    ) -> Result<()> {
        self.needs_trained("loading")?;
        let failed = |entry: String| move |source: io::Error| Error::Source { entry, source };
        let saved = source.table().map_err(failed("the table".into()))?;
        let needed = self.saved_entries(Mode::Train)?;
        self.check_writable()?;
        let numbers = check::matched(&needed, &saved, options)?;
        let mut read = |number: usize, offset: u64, bytes: &mut [u8]| {
            source.read(number, offset, bytes).map_err(failed(saved[number].to_string()))
        };
        let small = self.small(&needed, (&saved, &numbers), &mut read)?;

        let same = |entry: usize| numbers[entry].is_some_and(|n| saved[n] == needed[entry]);
        let pieces = self.pieces(&needed, &[])?;
        let (exact, converted): (Vec<Piece>, Vec<Piece>) =
            pieces.into_iter().partition(|piece| piece.entries().all(&same));
        for batch in pieces::batches(&exact) {
            for piece in batch {
                let bytes = piece.join(|entry, offset, bytes| match numbers[entry] {
                    Some(number) => read(number, offset, bytes),
                    None => Ok(()),
                })?;
                transfer::store_bytes(&self.gpu, (&piece.buffer, piece.offset), bytes).await?;
            }
            // What was written waits in memory for the next submission.
            self.gpu.checked("load", || self.gpu.queue().submit([]))?;
        }
        if !converted.is_empty() {
            let (needed, saved, numbers) = (&needed[..], &saved[..], &numbers[..]);
            let all = Conversion { needed, saved, numbers, keep_params: options.keep_params };
            self.convert(all, &mut read).await?;
        }
        self.write_small(&small)?;
        self.gpu.checked("load", || self.gpu.queue().submit([]))?;
        match small.mode {
            Mode::Train => self.gpu.check_lost(),
            Mode::Evaluate => self.eval(),
        }
    }

    /// Reads what is small, and looks whether the rules are the same.
    fn small(
        &self,
        needed: &[SavedEntry],
        (saved, numbers): (&[SavedEntry], &[Option<usize>]),
        read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<()>,
    ) -> Result<Small> {
        let tensors = self.infos.len();
        let mut small = Small { steps: vec![0; tensors], ..Small::default() };
        // Those of tensors that were taken out stay.
        small.numbers = (0..tensors).map(|index| self.control.number(index)).collect();
        for (entry, number) in needed.iter().zip(numbers) {
            let Some(number) = *number else { continue };
            let index = entry.tensor.as_ref().and_then(|tensor| self.ids.get(tensor).copied());
            let known = ["seed", "mode", "reports", "loss_scale", "rule", "number", "step"];
            if !known.contains(&entry.what.as_str()) {
                continue;
            }
            // Text is short; whatever is longer is none of ours.
            let size = saved[number].size_bytes.min(1 << 16);
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            read(number, 0, &mut bytes)?;
            let word = |at: usize| {
                let bytes = bytes.get(4 * at..).and_then(|bytes| bytes.first_chunk::<4>());
                bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
            };
            match (entry.what.as_str(), index) {
                ("seed", _) => small.seed = word(0),
                ("mode", _) => {
                    let modes = [Mode::Train, Mode::Evaluate];
                    let named = modes.into_iter().find(|mode| mode.name().as_bytes() == bytes);
                    small.mode = named.ok_or_else(|| Error::SavedDiffers {
                        entry: entry.to_string(),
                        expected: modes.map(Mode::name).join(" or "),
                        found: String::from_utf8_lossy(&bytes).into_owned(),
                    })?;
                }
                ("reports", _) => small.reports = Some([word(0), word(1)]),
                ("loss_scale", _) => small.scale = Some(bytes),
                ("number", Some(index)) => small.numbers[index] = word(0),
                ("step", Some(index)) => small.steps[index] = word(0),
                ("rule", Some(index)) => {
                    let (expected, found) =
                        (self.rule_text(index), String::from_utf8_lossy(&bytes));
                    if found != expected {
                        let (entry, found) = (entry.to_string(), found.into_owned());
                        return Err(Error::SavedDiffers { entry, expected, found });
                    }
                }
                _ => {}
            }
        }
        Ok(small)
    }

    fn write_small(&mut self, small: &Small) -> Result<()> {
        let gpu = &self.gpu;
        self.control.write_identity(gpu, &self.rules, small.seed, &small.numbers)?;
        transfer::write(gpu, &self.control.steps, 0, &small.steps)?;
        // Where nothing is decided no step is skipped: there are as many as of the tensor with most.
        let most = small.steps.iter().copied().max().unwrap_or(0);
        let [step, skipped_total] = small.reports.unwrap_or([most, 0]);
        self.control.write_decision(gpu, step, skipped_total)?;
        if let Some(reports) = &mut self.reports {
            reports.reset(gpu, step)?;
        }
        self.steps = step;
        if let (Some(scaler), Some(bytes)) = (&self.options.loss_scaler, &small.scale) {
            transfer::write(gpu, scaler.buffer(), 0, bytes)?;
        }
        Ok(())
    }

    /// Loads what differs in format, through values.
    async fn convert(
        &mut self,
        all: Conversion<'_>,
        read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        for index in 0..self.infos.len() {
            if self.infos[index].gone {
                continue;
            }
            let (id, len_elems) = (TensorId::new(index), self.infos[index].len_elems);
            let name = self.infos[index].spec.name.clone();
            let mut whole = |what: &str| all.read(&name, what, read);
            let param_differs =
                ["param", "master", "remainder"].into_iter().any(|what| !all.is_same(&name, what));
            if param_differs
                && !all.keep_params
                && let Some((param, bytes)) = whole("param")?
            {
                let values = match (whole("master")?, whole("remainder")?) {
                    (Some((_, master)), _) => Dtype::F32.decode(&master),
                    (_, Some((Encoding::Remainder { elem_bytes }, rests))) => {
                        remainder::join_all(&bytes, &rests, elem_bytes.into())
                    }
                    _ => decode(param, &bytes, len_elems).unwrap_or_default(),
                };
                self.store_param(id, &values).await?;
            }
            let slots = slot::tiled(&self.infos[index].slots);
            // Those of a tensor lie in one piece, which was loaded only if all of them are the same.
            if slots_are_same(&all, &name, &slots) {
                continue;
            }
            for slot in slots {
                let what = format!("state/{}", slot.name);
                let mut whole = |what: &str| all.read(&name, what, read);
                let Some((encoding, bytes)) = whole(&what)? else { continue };
                let values = decode(encoding, &bytes, len_elems).unwrap_or_default();
                self.store_state(id, slot.name, &values).await?;
            }
        }
        Ok(())
    }
}

/// Whether all slots of a tensor were loaded as they are.
fn slots_are_same(all: &Conversion<'_>, name: &str, slots: &[crate::Slot]) -> bool {
    slots.iter().all(|slot| all.is_same(name, &format!("state/{}", slot.name)))
}

/// What is needed beside what was saved.
#[derive(Clone, Copy, Debug)]
struct Conversion<'a> {
    needed: &'a [SavedEntry],
    saved: &'a [SavedEntry],
    numbers: &'a [Option<usize>],
    keep_params: bool,
}

impl Conversion<'_> {
    fn saved(&self, tensor: &str, what: &str) -> Option<usize> {
        let is_it =
            |entry: &SavedEntry| entry.tensor.as_deref() == Some(tensor) && entry.what == what;
        self.saved.iter().position(is_it)
    }

    /// Whether an entry is as it was saved, or is neither needed nor saved.
    fn is_same(&self, tensor: &str, what: &str) -> bool {
        let is_it =
            |entry: &SavedEntry| entry.tensor.as_deref() == Some(tensor) && entry.what == what;
        let needed = self.needed.iter().position(is_it);
        match (needed, self.saved(tensor, what)) {
            (Some(needed), Some(saved)) => {
                self.numbers[needed] == Some(saved) && self.needed[needed] == self.saved[saved]
            }
            (needed, saved) => needed.is_none() && saved.is_none(),
        }
    }

    /// All bytes of what was saved, with their encoding.
    fn read(
        &self,
        tensor: &str,
        what: &str,
        read: &mut impl FnMut(usize, u64, &mut [u8]) -> Result<()>,
    ) -> Result<Option<(Encoding, Vec<u8>)>> {
        let Some(number) = self.saved(tensor, what) else { return Ok(None) };
        let entry = &self.saved[number];
        let mut bytes = vec![0; usize::try_from(entry.size_bytes).unwrap_or(usize::MAX)];
        let mut offset = 0;
        for chunk in bytes.chunks_mut(super::CHUNK_LEN) {
            read(number, offset, chunk)?;
            offset += chunk.len() as u64;
        }
        Ok(Some((entry.encoding, bytes)))
    }
}
