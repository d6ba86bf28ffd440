//! What a check is: a name, what it proves, and how that is found out.

use std::fmt::{Display, Formatter};

use anyhow::Result;
use fallline::{Gpu, wgpu::AdapterInfo};
use serde::Serialize;

/// How a check is run.
type Run = Box<dyn Fn(&Subject) -> Result<Finding>>;

/// Something that must hold on a device.
pub(crate) struct Check {
    /// `family/name`. It stays the same from version to version, since driver faults are known by it.
    pub(crate) name: String,
    /// What holds if it passes, in a sentence.
    pub(crate) proves: &'static str,
    run: Run,
}

impl Check {
    pub(crate) fn new(
        name: impl Into<String>,
        proves: &'static str,
        run: impl Fn(&Subject) -> Result<Finding> + 'static,
    ) -> Self {
        Self { name: name.into(), proves, run: Box::new(run) }
    }

    /// What it finds; an error is a failure too.
    pub(crate) fn run(&self, subject: &Subject) -> Result<Finding> {
        (self.run)(subject)
    }

    /// The part of the name before the slash.
    pub(crate) fn family(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is checked.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) gpu: Gpu,
    pub(crate) effort: Effort,
}

impl Subject {
    pub(crate) fn adapter(&self) -> AdapterInfo {
        self.gpu.adapter_info()
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effort {
    Quick,
    #[default]
    Default,
    All,
}

impl Effort {
    /// One of three, by effort.
    pub(crate) fn of<T>(self, [quick, default, all]: [T; 3]) -> T {
        match self {
            Self::Quick => quick,
            Self::Default => default,
            Self::All => all,
        }
    }
}

/// The limits with which a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limits {
    /// The adapter's own.
    Adapter,
    /// Those that every WebGPU device has.
    WebgpuDefaults,
}

impl Display for Limits {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adapter => "the adapter's limits",
            Self::WebgpuDefaults => "WebGPU's default limits",
        })
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    Passed(Measured),
    Failed {
        measured: Measured,
        /// What was expected.
        expected: String,
    },
    /// Why the device cannot be asked.
    NotAvailable(String),
}

/// What was measured: the worst of everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// `null` where there is no number.
    pub(crate) value: Option<f64>,
    /// Of the value: `ULP`, `relative error`, `differ`, …
    pub(crate) unit: &'static str,
    /// Where that was, or what was seen.
    pub(crate) at: String,
    /// What else is to be known about it: the combination of formats, say.
    pub(crate) detail: String,
}

impl Measured {
    pub(crate) fn new(value: f64, unit: &'static str, at: impl Into<String>) -> Self {
        Self { value: Some(value), unit, at: at.into(), detail: String::new() }
    }

    /// Something that is no number.
    pub(crate) fn seen(what: impl Into<String>) -> Self {
        Self { at: what.into(), ..Self::default() }
    }

    pub(crate) fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Passes up to a bound; a NaN is beyond any.
    pub(crate) fn at_most(self, bound: f64) -> Finding {
        if self.value.is_some_and(|value| value <= bound) {
            return Finding::Passed(self);
        }
        let expected = format!("at most {} {}", number(bound), self.unit);
        Finding::Failed { measured: self, expected }
    }
}

/// Without the detail.
impl Display for Measured {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Some(value) = self.value else { return f.write_str(&self.at) };
        let joint = match self.at.as_str() {
            "" => "",
            at if at.starts_with("of ") => " ",
            _ => ", ",
        };
        write!(f, "{} {}{joint}{}", number(value), self.unit, self.at)
    }
}

/// Three digits, and none behind whole numbers.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 && value.abs() < 1e9 => format!("{value}"),
        0.01..1e4 => {
            let digits = if value.abs() < 1.0 { 3 } else { 2 };
            format!("{value:.digits$}")
        }
        _ => format!("{value:.2e}"),
    }
}

/// The worst of many numbers, and where it was.
#[derive(Clone, Debug)]
pub(crate) struct Worst {
    unit: &'static str,
    measured: Option<Measured>,
}

impl Worst {
    pub(crate) const fn new(unit: &'static str) -> Self {
        Self { unit, measured: None }
    }

    /// Takes one more, with where it is and a detail; NaN is the worst of all.
    pub(crate) fn take_with(&mut self, value: f64, told: impl FnOnce() -> (String, String)) {
        let worst = self.measured.as_ref().and_then(|measured| measured.value);
        let is_worse =
            worst.is_none_or(|worst| value > worst || (value.is_nan() && !worst.is_nan()));
        if is_worse {
            let (at, detail) = told();
            self.measured = Some(Measured::new(value, self.unit, at).with(detail));
        }
    }

    /// The same without a detail.
    pub(crate) fn take(&mut self, value: f64, at: impl FnOnce() -> String) {
        self.take_with(value, || (at(), String::new()));
    }

    /// `None` if there was nothing to measure.
    pub(crate) fn measured(self) -> Option<Measured> {
        self.measured
    }

    /// Passes up to a bound; nothing measured is a failure.
    pub(crate) fn at_most(self, bound: f64) -> Finding {
        let nothing = Measured { unit: self.unit, ..Measured::seen("nothing was measured") };
        self.measured.unwrap_or(nothing).at_most(bound)
    }
}

/// Fails with how many of so many differ, if any does, and the first.
pub(crate) fn none_differs(
    (what, len): (&str, usize),
    differing: impl IntoIterator<Item = String>,
) -> Finding {
    let mut differing = differing.into_iter();
    let Some(first) = differing.next() else {
        return Finding::Passed(Measured::new(0.0, "differ", format!("of {len} {what}")));
    };
    let count = 1 + differing.count();
    let measured = Measured::new(count as f64, "differ", format!("of {len} {what}"));
    let measured = measured.with(first);
    Finding::Failed { measured, expected: "no difference".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_bound_fails() {
        let of = |value| Measured::new(value, "ULP", "t0[3]").at_most(4.0);
        assert!(matches!(of(4.0), Finding::Passed(_)));
        for value in [4.1, f64::INFINITY, f64::NAN] {
            let Finding::Failed { expected, .. } = of(value) else { panic!("{value} passed") };
            assert_eq!(expected, "at most 4 ULP");
        }
        assert!(matches!(Measured::seen("kept").at_most(1.0), Finding::Failed { .. }));
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 4.0, 0.5, 0.123_456, 2.25, 1e-7, 123_456.7].map(number);
        assert_eq!(texts, ["0", "4", "0.500", "0.123", "2.25", "1.00e-7", "1.23e5"]);
        assert_eq!(Measured::new(2.0, "ULP", "p[1]").to_string(), "2 ULP, p[1]");
        assert_eq!(Measured::seen("flushed").to_string(), "flushed");
    }

    #[test]
    fn the_worst_is_kept_and_nan_is_worst() {
        let of = |values: &[f64]| {
            let mut worst = Worst::new("ULP");
            values.iter().for_each(|value| worst.take(*value, || format!("at {value}")));
            worst
        };
        let measured = of(&[1.0, f64::NAN, 9.0]).measured().expect("one");
        assert!(measured.value.is_some_and(f64::is_nan) && measured.at == "at NaN");
        assert_eq!(of(&[0.0, 2.0, 1.0]).measured().expect("one").to_string(), "2 ULP, at 2");
        assert!(matches!(of(&[0.0]).at_most(1.0), Finding::Passed(_)));
        assert!(matches!(of(&[]).at_most(1.0), Finding::Failed { .. }));
    }

    #[test]
    fn differences_are_counted_and_the_first_is_told() {
        assert!(matches!(none_differs(("codes", 4), []), Finding::Passed(_)));
        let differing = ["first", "second"].map(str::to_owned);
        let Finding::Failed { measured, .. } = none_differs(("codes", 4), differing) else {
            panic!("it passed")
        };
        assert_eq!(measured.to_string(), "2 differ of 4 codes");
        assert_eq!(measured.detail, "first");
    }
}
