use std::{
    io::{Result, Write},
    path::Path,
};

use super::{LogHead, Record, RecordNorms};

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogFormat {
    /// A JSON object on each line.
    JsonLines,
    /// Comma-separated values below a header.
    Csv,
}

impl LogFormat {
    /// By the extension, `jsonl` or `csv`.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "jsonl" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Writes records, a line for each, which is handed on at once: a run that is cut off leaves what it told.
#[derive(Debug)]
pub struct Log<W> {
    out: W,
    format: LogFormat,
    /// The groups and behind them the tensors of the first record, as the header of CSV has them.
    columns: Option<Vec<String>>,
}

impl<W: Write> Log<W> {
    /// A log without records.
    pub const fn new(out: W, format: LogFormat) -> Self {
        Self { out, format, columns: None }
    }

    /// A log that goes on behind what is left of it, which `out` must have been cut to.
    pub fn resume(out: W, format: LogFormat, head: LogHead) -> Self {
        Self { out, format, columns: head.columns }
    }

    /// Where it is written.
    pub const fn get_ref(&self) -> &W {
        &self.out
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What writing the line gives.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let mut line = match self.format {
            LogFormat::JsonLines => serde_json::to_string(record)?,
            LogFormat::Csv => self.csv(record),
        };
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }

    /// The line, behind the header if it is the first.
    fn csv(&mut self, record: &Record) -> String {
        let is_first = self.columns.is_none();
        let columns = self.columns.get_or_insert_with(|| {
            let groups = record.groups.iter().map(|norms| norms.name.clone());
            let tensors = record.tensors.iter().map(|norms| format!("{TENSOR}{}", norms.name));
            groups.chain(tensors).collect()
        });
        let header = if is_first { joined(header(columns)) + "\n" } else { String::new() };
        let fields = FIELDS.iter().map(|(_, field)| field(record));
        let norms = columns.iter().flat_map(|column| {
            let group = record.groups.iter().find(|norms| norms.name == *column);
            let tensor = || {
                let name = column.strip_prefix(TENSOR)?;
                record.tensors.iter().find(|norms| norms.name == name)
            };
            let norms = group.or_else(tensor);
            PER_NAME.iter().map(move |(_, field)| norms.map(field).unwrap_or_default())
        });
        header + &joined(fields.chain(norms))
    }
}

/// What a tensor's name begins with in a header, and a group's does not.
const TENSOR: &str = "tensor:";

/// The fields of the header of these groups and tensors.
pub(super) fn header(columns: &[String]) -> impl Iterator<Item = String> {
    let fields = FIELDS.iter().map(|(name, _)| (*name).to_owned());
    let norms = columns
        .iter()
        .flat_map(|column| PER_NAME.iter().map(move |(what, _)| format!("{column}/{what}")));
    fields.chain(norms)
}

/// The groups and tensors that a header has, if it is one.
pub(super) fn columns(fields: &[String]) -> Option<Vec<String>> {
    let norms = fields.get(FIELDS.len()..)?.chunks(PER_NAME.len());
    let suffix = format!("/{}", PER_NAME[0].0);
    let columns: Option<Vec<String>> =
        norms.map(|norms| norms[0].strip_suffix(&suffix).map(str::to_owned)).collect();
    columns.filter(|columns| header(columns).eq(fields.iter().cloned()))
}

/// A column with what stands in it.
type Column<T> = (&'static str, fn(&T) -> String);

const FIELDS: [Column<Record>; 12] = [
    ("step", |record| record.step.to_string()),
    ("loss", |record| or_empty(record.loss)),
    ("steps", |record| record.steps.to_string()),
    ("clipped", |record| record.clipped.to_string()),
    ("skipped", |record| record.skipped.len().to_string()),
    ("norm", |record| record.norm.to_string()),
    ("max_norm", |record| or_empty(record.max_norm)),
    ("clip_factor", |record| record.clip_factor.to_string()),
    ("loss_scale", |record| record.loss_scale.to_string()),
    ("suggested_max_norm", |record| or_empty(record.suggested_max_norm)),
    ("non_finite_step", |record| or_empty(record.non_finite.first().map(|first| first.step))),
    ("non_finite_tensor", |record| or_empty(record.non_finite.first().map(|first| &first.tensor))),
];

const PER_NAME: [Column<RecordNorms>; 5] = [
    ("norm", |norms| norms.norm.to_string()),
    ("update_norm", |norms| norms.update_norm.to_string()),
    ("weight_norm", |norms| norms.weight_norm.to_string()),
    ("update_ratio", |norms| or_empty(norms.update_ratio)),
    ("lr", |norms| norms.lr.to_string()),
];

fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A line of CSV, as RFC 4180 has it.
fn joined(fields: impl Iterator<Item = String>) -> String {
    let quoted = |field: String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    };
    fields.map(quoted).collect::<Vec<_>>().join(",")
}
