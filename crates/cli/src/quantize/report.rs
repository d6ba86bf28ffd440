//! What is printed and written about tensors that were quantized or dequantized.

use std::fmt;

use fallline::StateFormat;
use serde_json::{Value, json};

use crate::{device::AdapterReport, print::table};

/// The whole report.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) adapter: AdapterReport,
    pub(super) format: StateFormat,
    pub(super) signed: bool,
    pub(super) rows: Vec<Row>,
}

/// A tensor.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) from: String,
    /// `None`: it is copied.
    pub(super) to: Option<String>,
    pub(super) bytes: usize,
    /// Afterwards, with its scales.
    pub(super) bytes_after: usize,
    /// If there are values to compare with.
    pub(super) error: Option<Deviation>,
    /// How far these are off, quantized and dequantized once more, if that was done.
    pub(super) again: Option<Deviation>,
    pub(super) not_finite: NotFinite,
}

/// How far values are from what they were, of those that are finite before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Deviation {
    len: usize,
    sum: f64,
    max: f64,
    squares: f64,
    value_squares: f64,
}

/// How many elements are infinite or NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NotFinite {
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Deviation {
    /// Adds values and what they became.
    pub(super) fn add(&mut self, values: &[f32], found: &[f32]) {
        let both = values.iter().zip(found).filter(|(v, f)| v.is_finite() && f.is_finite());
        for (&value, &found) in both {
            let (value, found) = (f64::from(value), f64::from(found));
            let error = (value - found).abs();
            self.join(&Self {
                len: 1,
                sum: error,
                max: error,
                squares: error * error,
                value_squares: value * value,
            });
        }
    }

    fn join(&mut self, other: &Self) {
        self.len += other.len;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.squares += other.squares;
        self.value_squares += other.value_squares;
    }

    fn mean(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.sum / self.len as f64 }
    }

    /// The norm of the errors by that of the values.
    fn relative_rms(&self) -> f64 {
        if self.squares == 0.0 { 0.0 } else { (self.squares / self.value_squares).sqrt() }
    }

    fn cells(&self) -> Vec<String> {
        [self.mean(), self.max, self.relative_rms()].map(digits).to_vec()
    }
}

impl NotFinite {
    /// Adds values and what they became.
    pub(super) fn add(&mut self, values: &[f32], found: &[f32]) {
        let count = |values: &[f32]| values.iter().filter(|value| !value.is_finite()).count();
        self.before += count(values);
        self.after += count(found);
    }

    fn any(self) -> bool {
        self != Self::default()
    }

    fn cell(self) -> String {
        let Self { before, after } = self;
        if self.any() { format!("{before} -> {after}") } else { String::new() }
    }
}

impl Report {
    /// What should not go unnoticed.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warning = |row: &Row| {
            let (name, NotFinite { before, after }) = (&row.name, row.not_finite);
            let len: usize = row.shape.iter().product();
            row.not_finite.any().then(|| {
                format!("tensor '{name}': {before} not finite, {after} afterwards, of {len}")
            })
        };
        self.rows.iter().filter_map(warning).collect()
    }

    /// Errors of all tensors; `None` if there is nothing to compare with.
    fn total(&self) -> Option<Deviation> {
        self.sum(|row| row.error)
    }

    /// Those of a second time.
    fn total_again(&self) -> Option<Deviation> {
        self.sum(|row| row.again)
    }

    fn sum(&self, of: impl Fn(&Row) -> Option<Deviation>) -> Option<Deviation> {
        self.rows.iter().filter_map(of).reduce(|mut sum, error| {
            sum.join(&error);
            sum
        })
    }

    fn bytes(&self) -> (usize, usize) {
        let add = |sum: (usize, usize), row: &Row| (sum.0 + row.bytes, sum.1 + row.bytes_after);
        self.rows.iter().fold((0, 0), add)
    }

    pub(super) fn to_json(&self) -> Value {
        let error = |error: &Deviation| {
            json!({
                "mean_abs": error.mean(),
                "max_abs": error.max,
                "relative_rms": error.relative_rms(),
            })
        };
        let row = |row: &Row| {
            json!({
                "name": row.name,
                "shape": row.shape,
                "from": row.from,
                "to": row.to,
                "bytes": row.bytes,
                "bytes_after": row.bytes_after,
                "error": row.error.as_ref().map(error),
                "error_again": row.again.as_ref().map(error),
                "not_finite": row.not_finite.before,
                "not_finite_after": row.not_finite.after,
            })
        };
        let (bytes, bytes_after) = self.bytes();
        json!({
            "adapter": self.adapter,
            "format": self.format,
            "signed": self.signed,
            "bytes": bytes,
            "bytes_after": bytes_after,
            "error": self.total().as_ref().map(error),
            "error_again": self.total_again().as_ref().map(error),
            "tensors": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdapterReport { name, backend, driver } = &self.adapter;
        writeln!(f, "{name}, {backend}, {driver}")?;
        writeln!(f, "{}, {}", self.format, if self.signed { "signed" } else { "unsigned" })?;
        let total = self.total();
        let is_odd = self.rows.iter().any(|row| row.not_finite.any());
        let mut head = vec!["tensor", "shape", "from", "to", "bytes", "after"];
        if total.is_some() {
            head.extend(["mean error", "max error", "rel. rms"]);
        }
        let total_again = self.total_again();
        if total_again.is_some() {
            head.push("again rms");
        }
        if is_odd {
            head.push("not finite");
        }
        let line = |(texts, bytes, [error, again], odd): (
            [String; 4],
            (usize, usize),
            [Option<Deviation>; 2],
            NotFinite,
        )| {
            let mut cells = texts.to_vec();
            cells.extend([bytes.0.to_string(), bytes.1.to_string()]);
            if total.is_some() {
                let none = || vec![String::from("-"); 3];
                cells.extend(error.as_ref().map_or_else(none, Deviation::cells));
            }
            if total_again.is_some() {
                let relative = |again: Deviation| digits(again.relative_rms());
                cells.push(again.map_or_else(|| "-".into(), relative));
            }
            cells.push(odd.cell());
            cells
        };
        let row = |row: &Row| {
            let to = row.to.clone().unwrap_or_else(|| "copied".into());
            let texts = [row.name.clone(), format!("{:?}", row.shape), row.from.clone(), to];
            let errors = [row.error, row.again];
            line((texts, (row.bytes, row.bytes_after), errors, row.not_finite))
        };
        let sum = |odd: NotFinite, row: &Row| NotFinite {
            before: odd.before + row.not_finite.before,
            after: odd.after + row.not_finite.after,
        };
        let odd = self.rows.iter().fold(NotFinite::default(), sum);
        let texts = ["total", "", "", ""].map(String::from);
        let last = line((texts, self.bytes(), [total, total_again], odd));
        f.write_str(&table(&head, self.rows.iter().map(row).chain([last])))
    }
}

/// Three digits.
fn digits(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_of_what_is_finite() {
        let (values, found) = ([3.0, f32::NAN, 4.0, 1.0], [3.5, f32::NAN, 4.0, f32::INFINITY]);
        let (mut error, mut odd) = (Deviation::default(), NotFinite::default());
        error.add(&values, &found);
        odd.add(&values, &found);
        assert_eq!((error.mean(), error.max, error.relative_rms()), (0.25, 0.5, 0.1));
        assert_eq!(odd, NotFinite { before: 1, after: 2 });
        let none = Deviation::default();
        assert_eq!((none.mean(), none.max, none.relative_rms()), (0.0, 0.0, 0.0));
    }
}
