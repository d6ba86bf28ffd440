use std::{
    io::{BufRead, Error, ErrorKind, Result, Write},
    path::Path,
};

use super::{Record, RecordNorms};

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
    /// The groups and the tensors of the first record, by name: columns of CSV.
    columns: Option<[Vec<String>; 2]>,
}

impl<W: Write> Log<W> {
    /// A log without records.
    pub const fn new(out: W, format: LogFormat) -> Self {
        Self { out, format, columns: None }
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
        let names = |norms: &[RecordNorms]| norms.iter().map(|norms| norms.name.clone()).collect();
        let is_first = self.columns.is_none();
        let columns =
            self.columns.get_or_insert_with(|| [names(&record.groups), names(&record.tensors)]);
        let mut line = String::new();
        if is_first {
            let [groups, tensors] = &*columns;
            let of = |before: &'static str, name: &str| {
                let name = format!("{before}{name}");
                PER_NAME.iter().map(move |(what, _)| format!("{name}/{what}")).collect::<Vec<_>>()
            };
            let mut header: Vec<String> = FIELDS.iter().map(|(name, _)| (*name).into()).collect();
            header.extend(groups.iter().flat_map(|name| of("", name)));
            header.extend(tensors.iter().flat_map(|name| of("tensor:", name)));
            line = joined(header.into_iter()) + "\n";
        }
        let fields = FIELDS.iter().map(|(_, field)| field(record));
        let [groups, tensors] = &*columns;
        let all = groups.iter().map(|name| (&record.groups, name));
        let all = all.chain(tensors.iter().map(|name| (&record.tensors, name)));
        let norms = all.flat_map(|(norms, name)| {
            let norms = norms.iter().find(|norms| norms.name == *name);
            PER_NAME.iter().map(move |(_, field)| norms.map(field).unwrap_or_default())
        });
        line + &joined(fields.chain(norms))
    }
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

/// Reads a log of JSON lines. Empty lines are passed over, and so is a last line without an end: of a run that was cut
/// off, or is writing it.
///
/// # Errors
/// What reading gives; [`ErrorKind::InvalidData`] with its number for a line that is no record.
pub fn read_json_lines(mut from: impl BufRead) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => {
                return Err(Error::new(ErrorKind::InvalidData, format!("line {number}: {error}")));
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::NonFiniteStep;

    fn records() -> Vec<Record> {
        let norms = |name: &str| RecordNorms {
            name: name.into(),
            norm: 0.1,
            update_norm: 1e-30,
            weight_norm: 3.0,
            update_ratio: Some(3.3e-31),
            lr: 1e-3,
            ..RecordNorms::default()
        };
        let first = Record {
            step: 20,
            loss: Some(2.5),
            steps: 20,
            clipped: 3,
            norm: 0.2,
            max_norm: Some(1.0),
            clip_factor: 1.0,
            loss_scale: 65536.0,
            suggested_max_norm: Some(0.3),
            groups: vec![norms("all"), norms("a \"b\", c")],
            tensors: vec![norms("w")],
            ..Record::default()
        };
        let non_finite = vec![NonFiniteStep { step: 33, tensor: "h.0/attn".into() }];
        let second = Record {
            step: 40,
            skipped: vec![33, 40],
            non_finite,
            norm: f32::INFINITY,
            groups: vec![RecordNorms { norm: f32::NAN, update_ratio: None, ..norms("all") }],
            tensors: vec![norms("later")],
            ..Record::default()
        };
        vec![first, second]
    }

    fn written(format: LogFormat) -> String {
        let mut log = Log::new(Vec::new(), format);
        records().iter().for_each(|record| log.write(record).unwrap());
        String::from_utf8(log.out).unwrap()
    }

    #[test]
    fn json_lines_come_back_with_null_for_what_is_not_finite() {
        let text = written(LogFormat::JsonLines);
        assert!(
            text.lines().next().unwrap().starts_with("{\"step\":20,\"loss\":2.5,\"steps\":20,")
        );
        assert_eq!(text.lines().count(), 2);
        let found = read_json_lines(text.as_bytes()).unwrap();
        assert_eq!(found[0], records()[0]);
        assert!(found[1].norm.is_nan() && found[1].groups[0].norm.is_nan());
        assert_eq!(found[1].non_finite, records()[1].non_finite);
        assert_eq!(found[1].skipped, [33, 40]);
    }

    #[test]
    fn lines_of_other_versions_are_read_and_unfinished_ones_passed_over() {
        let text = "{\"step\":1,\"temperature\":{\"new\":[1,null]},\"groups\":[{\"name\":\"a\",\"x\":1}]}\n\n{\"st";
        let found = read_json_lines(text.as_bytes()).unwrap();
        assert_eq!((found.len(), found[0].step, found[0].groups[0].name.as_str()), (1, 1, "a"));
        let error = read_json_lines("{\"step\":1}\n{\"step\":\"x\"}\n".as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("line 2: invalid type"), "{error}");
    }

    #[test]
    fn csv_has_the_columns_of_the_first_record() {
        let text = written(LogFormat::Csv);
        let lines: Vec<&str> = text.lines().collect();
        let head = "step,loss,steps,clipped,skipped,norm,max_norm,clip_factor,loss_scale,\
                    suggested_max_norm,non_finite_step,non_finite_tensor,all/norm,";
        assert!(lines[0].starts_with(head), "{}", lines[0]);
        assert!(
            lines[0].contains(",\"a \"\"b\"\", c/norm\",") && lines[0].ends_with(",tensor:w/lr")
        );
        assert!(lines[1].starts_with("20,2.5,20,3,0,0.2,1,1,65536,0.3,,,0.1,"), "{}", lines[1]);
        assert!(lines[2].starts_with("40,,0,0,2,inf,,0,0,,33,h.0/attn,NaN,"), "{}", lines[2]);
        // Of what has no column, or is not told any more.
        assert!(lines[2].ends_with(",,,,,,,,,,"), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }
}
