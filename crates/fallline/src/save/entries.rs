//! The entries of an optimizer, and the bytes of those that are small.

use super::{Encoding, SavedEntry};
use crate::{Error, Mode, Optimizer, Result, Role, TensorId, abi, transfer};
use wgpu::BufferUsages;

/// Words of the loss scale that change: scale, reciprocal, tracker, pending overflow.
pub(super) const SCALE_WORDS: u64 = 4;
const _: () = assert!(std::mem::offset_of!(abi::LossScale, growth_factor) == 16);

impl Optimizer {
    /// What is saved in a mode, in order.
    pub(super) fn saved_entries(&self, mode: Mode) -> Result<Vec<SavedEntry>> {
        let counts = |what: &str, len: usize| SavedEntry {
            tensor: None,
            what: what.into(),
            encoding: Encoding::Counts,
            shape: vec![len],
            size_bytes: 4 * len as u64,
        };
        let mode = SavedEntry {
            tensor: None,
            what: "mode".into(),
            encoding: Encoding::Text,
            shape: Vec::new(),
            size_bytes: mode.name().len() as u64,
        };
        let mut entries = vec![counts("seed", 1), mode];
        if self.control.measure().is_some_and(|measure| measure.always) {
            // Steps, and how many of them were skipped.
            entries.push(counts("reports", 2));
        }
        if self.options.loss_scaler.is_some() {
            entries.push(counts("loss_scale", 4));
        }
        for (index, info) in self.infos.iter().enumerate() {
            if info.gone {
                continue;
            }
            let slice = self.param(TensorId::new(index))?;
            let name = &info.spec.name;
            transfer::check_usage(name, Role::Param, slice.buffer(), BufferUsages::COPY_SRC)?;
            let entry = |what: String, encoding: Encoding, shape: &[usize], size_bytes: u64| {
                let (tensor, shape) = (Some(name.clone()), shape.to_vec());
                SavedEntry { tensor, what, encoding, shape, size_bytes }
            };
            let rule = self.rule_text(index);
            entries.push(entry("rule".into(), Encoding::Text, &[], rule.len() as u64));
            entries.push(entry("number".into(), Encoding::Counts, &[], 4));
            entries.push(entry("step".into(), Encoding::Counts, &[], 4));
            let mut sized = |what: String, encoding: Encoding, shape: &[usize], len_elems: u64| {
                let too_large = || Error::ShapeOverflow {
                    tensor: name.clone(),
                    shape: info.spec.shape.clone(),
                };
                let size_bytes = encoding.size_bytes(len_elems).ok_or_else(too_large)?;
                entries.push(entry(what, encoding, shape, size_bytes));
                Ok::<(), Error>(())
            };
            let (shape, len_elems) = (&info.spec.shape, info.len_elems);
            sized("param".into(), Encoding::Numbers(info.spec.dtype), shape, len_elems)?;
            if let Some((what, encoding)) = Encoding::of_precision(info.spec.precision) {
                sized(what.into(), encoding, shape, len_elems)?;
            }
            for &slot in &info.slots {
                let encoding = Encoding::of_state(slot.format(info.state), slot.signed);
                let what = format!("state/{}", slot.name);
                let len_elems = slot.len_elems(&info.spec);
                sized(what, encoding, &slot.dims(shape), len_elems)?;
            }
        }
        Ok(entries)
    }

    /// The rule of a tensor with its switches.
    pub(super) fn rule_text(&self, index: usize) -> String {
        let info = &self.infos[index];
        self.groups[info.group].rule.name_with_switches(&info.spec)
    }

    /// The bytes of all entries but parameters and what is kept for each of their elements.
    pub(super) async fn small_entries(
        &self,
        mode: Mode,
        table: &[SavedEntry],
    ) -> Result<Vec<(usize, Vec<u8>)>> {
        let gpu = &self.gpu;
        let steps = self.fetch_steps().await?;
        let words = |words: &[u32]| bytemuck::cast_slice::<u32, u8>(words).to_vec();
        let mut entries = Vec::new();
        for (number, entry) in table.iter().enumerate() {
            let index = entry.tensor.as_ref().and_then(|tensor| self.ids.get(tensor).copied());
            let bytes = match (entry.what.as_str(), index) {
                ("seed", None) => words(&[self.control.seed()]),
                ("mode", None) => mode.name().into(),
                ("reports", None) => {
                    let head = self.control.fetch_decision(gpu).await?;
                    words(&[head.step, head.skipped_total])
                }
                ("loss_scale", None) => match &self.options.loss_scaler {
                    Some(scaler) => {
                        transfer::fetch(gpu, scaler.buffer(), 0, SCALE_WORDS * 4).await?
                    }
                    None => continue,
                },
                ("rule", Some(index)) => self.rule_text(index).into_bytes(),
                ("number", Some(index)) => words(&[self.control.number(index)]),
                ("step", Some(index)) => words(&steps[index..=index]),
                _ => continue,
            };
            entries.push((number, bytes));
        }
        Ok(entries)
    }
}

/// The values of an entry of numbers or blocks.
pub(super) fn decode(encoding: Encoding, bytes: &[u8], len_elems: u64) -> Option<Vec<f32>> {
    let len = usize::try_from(len_elems).ok()?;
    match encoding {
        Encoding::Numbers(dtype) => Some(dtype.decode(bytes)),
        Encoding::Blocks { format, signed } => crate::blocks::decode(format, !signed, bytes, len),
        _ => None,
    }
}
