use std::io::{BufRead, Error, ErrorKind, Result};

use super::{LogFormat, Record, log};

/// What is left of a log whose run is resumed behind a step: its records of steps up to that one.
///
/// ```no_run
/// use std::{fs::File, io::{BufReader, Seek, SeekFrom}};
/// use fallline::monitor::{Log, LogFormat, LogHead};
///
/// # fn resume(step: u32) -> std::io::Result<()> {
/// let mut file = File::options().read(true).write(true).open("run.jsonl")?;
/// let head = LogHead::read(BufReader::new(&file), LogFormat::JsonLines, step)?;
/// file.set_len(head.len_bytes())?;
/// file.seek(SeekFrom::End(0))?;
/// let mut log = Log::resume(file, LogFormat::JsonLines, head);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    len_bytes: u64,
    /// Those of CSV, if there is a header.
    pub(super) columns: Option<Vec<String>>,
}

impl LogHead {
    /// Reads a log up to the first record of a later step, or to a last line without an end: of a run that was cut off.
    ///
    /// # Errors
    /// What reading gives; [`ErrorKind::InvalidData`] with its number for a line that is no record, or no header.
    pub fn read(mut from: impl BufRead, format: LogFormat, step: u32) -> Result<Self> {
        let mut head = Self::default();
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            read_line(&mut from, format, &mut line)?;
            if !line.ends_with('\n') {
                break;
            }
            let found = match format {
                LogFormat::JsonLines => json_step(&line).map_err(|error| error.to_string()),
                LogFormat::Csv if head.columns.is_none() => {
                    head.columns = log::columns(&fields(&line));
                    let is_header = head.columns.is_some();
                    is_header.then_some(None).ok_or("it is not the header of a log".to_owned())
                }
                LogFormat::Csv => match csv_step(&line) {
                    None => Err("it begins with no step".to_owned()),
                    step => Ok(step),
                },
            };
            if found.map_err(|error| invalid(number, error))?.is_some_and(|found| found > step) {
                break;
            }
            head.len_bytes += line.len() as u64;
        }
        Ok(head)
    }

    /// Its length, which the log is to be cut to.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

/// Adds a line, which in CSV may have line ends within quotes.
fn read_line(from: &mut impl BufRead, format: LogFormat, line: &mut String) -> Result<()> {
    while from.read_line(line)? > 0 {
        if format == LogFormat::JsonLines || line.matches('"').count().is_multiple_of(2) {
            break;
        }
    }
    Ok(())
}

/// The step of a record; none of an empty line.
fn json_step(line: &str) -> serde_json::Result<Option<u32>> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(line).map(|record: Record| Some(record.step))
}

fn csv_step(line: &str) -> Option<u32> {
    line.split(',').next()?.parse().ok()
}

/// The fields of a line of CSV, as RFC 4180 has it.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut field, mut is_quoted) = (String::new(), false);
    let mut chars = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

fn invalid(line: u32, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidData, format!("line {line}: {error}"))
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
            Err(error) => return Err(invalid(number, error)),
        }
    }
    Ok(records)
}
