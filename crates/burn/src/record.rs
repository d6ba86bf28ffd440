//! The state of a parameter outside of the engine: in Burn's records, by Burn's names where Burn has the rule.

use burn::{
    optim::{StateSink, StateSource},
    tensor::{DType, TensorData},
};
use fallline::{Dtype, Encoding};
use serde::{Deserialize, Serialize};

/// Something that is saved of a parameter, or of all.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// As in fallline's `SavedEntry`.
    pub(crate) what: String,
    pub(crate) encoding: Encoding,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The state of a parameter.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// What the engine saved of it.
    pub(crate) entries: Vec<Entry>,
    /// What the engine saved of all together.
    pub(crate) shared: Vec<Entry>,
    /// What an optimizer of Burn's saved, by the leaf of its record.
    pub(crate) leaves: Vec<(&'static str, TensorData)>,
    /// How many steps it has taken, and its number in stochastic rounding.
    pub(crate) step: Option<u32>,
    pub(crate) number: Option<u32>,
}

/// How Burn calls what a rule keeps: leaves of its record and our slots; and its counter of steps.
struct Names {
    rules: &'static [&'static str],
    leaves: &'static [(&'static str, &'static str)],
    time: Option<&'static str>,
}

const NAMES: &[Names] = &[
    Names {
        rules: &["adam", "adamw"],
        leaves: &[
            ("momentum.moment_1", "exp_avg"),
            ("momentum.moment_2", "exp_avg_sq"),
            ("momentum.max_moment_2", "max_exp_avg_sq"),
        ],
        time: Some("momentum.time"),
    },
    Names {
        rules: &["lamb"],
        leaves: &[("moment_1", "exp_avg"), ("moment_2", "exp_avg_sq")],
        time: Some("time"),
    },
    Names {
        rules: &["adan"],
        leaves: &[
            ("momentum.exp_avg", "exp_avg"),
            ("momentum.exp_avg_sq", "exp_avg_sq"),
            ("momentum.exp_avg_diff", "exp_avg_diff"),
            ("momentum.neg_pre_grad", "neg_pre_grad"),
        ],
        time: Some("momentum.time"),
    },
    Names { rules: &["adagrad"], leaves: &[("lr_decay.sum", "sum")], time: Some("lr_decay.time") },
    Names { rules: &["sgd"], leaves: &[("momentum.velocity", "momentum_buffer")], time: None },
    Names { rules: &["lion"], leaves: &[("momentum", "exp_avg")], time: None },
    Names {
        rules: &["rmsprop"],
        leaves: &[
            ("square_avg.square_avg", "square_avg"),
            ("centered.grad_avg", "grad_avg"),
            ("momentum.buf", "momentum_buffer"),
        ],
        time: None,
    },
    // Which of two slots there is depends on the shape.
    Names {
        rules: &["adafactor"],
        leaves: &[
            ("second_moment", "row_var"),
            ("second_moment", "variance"),
            ("column_second_moment", "col_var"),
        ],
        time: Some("time"),
    },
    Names {
        rules: &["adafactor_hf"],
        leaves: &[
            ("second_moment", "exp_avg_sq_row"),
            ("second_moment", "exp_avg_sq"),
            ("column_second_moment", "exp_avg_sq_col"),
        ],
        time: Some("time"),
    },
];

/// RMSprop's of Burn keeps what it divides by besides.
const RMSPROP_AVG: &str = "centered.avg";

const ENTRIES: &str = "fallline.entries";
const SHARED: &str = "fallline.shared";
const STEP: &str = "fallline.step";
const NUMBER: &str = "fallline.number";

fn names_of(rule: &str) -> Option<&'static Names> {
    NAMES.iter().find(|names| names.rules.contains(&rule))
}

impl State {
    /// Our name of a slot for what Burn calls by these leaves, if the rule has one of Burn's.
    pub(crate) fn leaf_of(rule: &str, slot: &str) -> Option<&'static str> {
        let (leaf, _) = names_of(rule)?.leaves.iter().find(|(_, known)| *known == slot)?;
        Some(leaf)
    }

    /// Writes it into a record: by Burn's names where an optimizer of Burn's can go on with it, else as it is.
    pub(crate) fn flatten(&self, rule: &str, prefix: &str, out: &mut StateSink) {
        for (leaf, data) in &self.leaves {
            out.push_tensor(prefix, leaf, data.clone());
        }
        let burns = names_of(rule).filter(|_| {
            self.entries.iter().all(|entry| {
                let slot = entry.what.strip_prefix("state/");
                let is_f32 = entry.encoding == Encoding::Numbers(Dtype::F32);
                is_f32 && slot.is_some_and(|slot| Self::leaf_of(rule, slot).is_some())
            })
        });
        if let Some(names) = burns {
            for Entry { what, shape, bytes, .. } in &self.entries {
                let slot = what.strip_prefix("state/").unwrap_or_default();
                let leaf = Self::leaf_of(rule, slot).unwrap_or_default();
                let data = TensorData::from_bytes_vec(bytes.clone(), shape.clone(), DType::F32);
                out.push_tensor(prefix, leaf, data);
            }
            if rule == "rmsprop" {
                self.flatten_rmsprop_avg(prefix, out);
            }
            if let (Some(time), Some(step)) = (names.time, self.step) {
                out.push_scalar(prefix, time, step.into());
            }
        } else if !self.entries.is_empty() {
            out.push_tensor(prefix, ENTRIES, pack(&self.entries));
        }
        if !self.shared.is_empty() {
            out.push_tensor(prefix, SHARED, pack(&self.shared));
        }
        for (leaf, count) in [(STEP, self.step), (NUMBER, self.number)] {
            if let Some(count) = count {
                out.push_scalar(prefix, leaf, count.into());
            }
        }
    }

    fn flatten_rmsprop_avg(&self, prefix: &str, out: &mut StateSink) {
        let slot = |slot: &str| {
            let entry = self.entries.iter().find(|entry| entry.what == format!("state/{slot}"))?;
            Some((Dtype::F32.decode(&entry.bytes), entry.shape.clone()))
        };
        let Some((mut avg, shape)) = slot("square_avg") else { return };
        if let Some((grad_avg, _)) = slot("grad_avg") {
            avg.iter_mut().zip(grad_avg).for_each(|(avg, grad)| *avg -= grad * grad);
        }
        out.push_tensor(prefix, RMSPROP_AVG, TensorData::new(avg, shape));
    }

    /// Reads it from a record. What is not there is missed when the rule is known.
    pub(crate) fn unflatten(prefix: &str, src: &mut StateSource) -> Self {
        let mut state = Self::default();
        for (leaf, _) in NAMES.iter().flat_map(|names| names.leaves) {
            state.leaves.extend(src.take_tensor(prefix, leaf).map(|data| (*leaf, read(&data))));
        }
        let mut count = |leaf| u32::try_from(src.take_scalar(prefix, leaf)?).ok();
        let times = NAMES.iter().filter_map(|names| names.time);
        state.step = std::iter::once(STEP).chain(times).find_map(&mut count);
        state.number = count(NUMBER);
        let mut unpacked = |leaf| {
            let data = src.take_tensor(prefix, leaf)?;
            unpack(data.as_bytes())
        };
        state.entries = unpacked(ENTRIES).unwrap_or_default();
        state.shared = unpacked(SHARED).unwrap_or_default();
        state
    }
}

/// The data on the host: Burn reads it from the GPU when it is first looked at, and what wrote it may go on.
fn read(data: &TensorData) -> TensorData {
    TensorData::from_bytes_vec(data.as_bytes().to_vec(), data.shape(), data.dtype())
}

/// An entry in the header of what is packed.
#[derive(Serialize, Deserialize)]
struct Head {
    what: String,
    encoding: String,
    shape: Vec<usize>,
    len: usize,
}

/// Entries as bytes: the length of a JSON header, the header, and their bytes.
fn pack(entries: &[Entry]) -> TensorData {
    let head = |entry: &Entry| Head {
        what: entry.what.clone(),
        encoding: encoding_name(entry.encoding),
        shape: entry.shape.clone(),
        len: entry.bytes.len(),
    };
    let heads: Vec<Head> = entries.iter().map(head).collect();
    let header = serde_json::to_vec(&heads).unwrap_or_default();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    entries.iter().for_each(|entry| bytes.extend(&entry.bytes));
    let len = bytes.len();
    TensorData::from_bytes_vec(bytes, [len], DType::U8)
}

fn unpack(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let (header, mut rest) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let heads: Vec<Head> = serde_json::from_slice(header).ok()?;
    let entry = |Head { what, encoding, shape, len }| {
        let (bytes, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(Entry { what, encoding: encoding_of(&encoding)?, shape, bytes: bytes.to_vec() })
    };
    heads.into_iter().map(entry).collect()
}

fn encoding_name(encoding: Encoding) -> String {
    match encoding {
        Encoding::Blocks { format, signed: true } => format.to_string(),
        Encoding::Blocks { format, signed: false } => format!("{format} unsigned"),
        Encoding::Remainder { elem_bytes } => format!("remainder {elem_bytes}"),
        Encoding::Text => "text".into(),
        Encoding::Numbers(dtype) => dtype.to_string(),
        // Counts; what the engine may have besides is told by nobody yet.
        _ => "u32".into(),
    }
}

fn encoding_of(name: &str) -> Option<Encoding> {
    if let Some(bytes) = name.strip_prefix("remainder ") {
        return Some(Encoding::Remainder { elem_bytes: bytes.parse().ok()? });
    }
    match name {
        "u32" => return Some(Encoding::Counts),
        "text" => return Some(Encoding::Text),
        _ => {}
    }
    if let Ok(dtype) = name.parse() {
        return Some(Encoding::Numbers(dtype));
    }
    let (format, signed) = match name.strip_suffix(" unsigned") {
        Some(format) => (format, false),
        None => (name, true),
    };
    Some(Encoding::Blocks { format: format.parse().ok()?, signed })
}
