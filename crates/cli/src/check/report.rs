//! What became of all checks: the lines on the terminal, and the JSON.

use fallline::{Gpu, wgpu::Adapter};
use serde::Serialize;

use super::{
    runner::{Line, Verdict},
    subject::Effort,
};
use crate::{
    Outcome,
    device::AdapterReport,
    info::{FeaturesReport, LimitsReport},
    print,
};

/// The version of what `--json` has; it grows when a field is removed or means something else.
const SCHEMA: u32 = 1;

/// Everything, as `--json` has it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    pub(super) version: &'static str,
    pub(super) effort: Effort,
    /// Whether nothing failed that was not known to.
    pub(super) passed: bool,
    pub(super) counts: Counts,
    pub(super) seconds: f64,
    pub(super) adapter: AdapterReport,
    pub(super) vendor: u32,
    pub(super) device: u32,
    pub(super) device_type: String,
    /// The system that it was run on, as Rust names it: `linux x86_64`.
    pub(super) system: String,
    pub(super) limits: LimitsReport,
    pub(super) features: FeaturesReport,
    pub(super) checks: Vec<Line>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) pass: usize,
    pub(super) fail: usize,
    pub(super) known: usize,
    pub(super) not_available: usize,
}

impl Counts {
    fn of(lines: &[Line]) -> Self {
        let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
        let [pass, fail, known, not_available] = Verdict::ALL.map(count);
        Self { pass, fail, known, not_available }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pass, fail, known, not_available } = self;
        write!(f, "{pass} passed, {fail} failed, {known} known, {not_available} not available")
    }
}

impl Report {
    pub(super) fn new(gpu: &Gpu, effort: Effort, checks: Vec<Line>, seconds: f64) -> Self {
        let info = gpu.adapter_info();
        // A device has only the features that were asked for.
        let adapters = fallline::adapters(info.backend.into());
        let adapter = adapters.iter().find(|adapter| adapter.get_info() == info);
        let features = adapter.map_or_else(|| gpu.device().features(), Adapter::features);
        let counts = Counts::of(&checks);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            effort,
            passed: counts.fail == 0,
            counts,
            seconds,
            adapter: AdapterReport::new(&info),
            vendor: info.vendor,
            device: info.device,
            device_type: format!("{:?}", info.device_type),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            limits: LimitsReport::new(gpu.limits()),
            features: FeaturesReport::new(features),
            checks,
        }
    }

    /// How the command ends.
    pub(super) fn outcome(&self) -> Outcome {
        if self.passed { Outcome::Good } else { Outcome::Failed }
    }

    /// The last line.
    pub(super) fn summary(&self) -> String {
        let verdict = if self.passed { "pass" } else { "fail" };
        format!("{verdict}: {} in {:.1} s", self.counts, self.seconds)
    }
}

/// What is printed before a check is run: should the driver end the process, this tells where.
pub(super) fn begun(name: &str) -> String {
    format!("{name:<30}")
}

/// What is printed behind that: details only where something is wrong.
pub(super) fn ended(line: &Line) -> String {
    let verdict = line.verdict.in_words();
    let mut parts = Vec::new();
    if let Some(measured) = &line.measured {
        parts.push(measured.to_string());
        if line.verdict != Verdict::Pass {
            parts.push(measured.detail.clone());
        }
    }
    parts.push(line.note.clone());
    parts.retain(|part| !part.is_empty());
    let text = parts.join("; ");
    format!("{verdict:<13} {:>6.2} s  {}\n", line.seconds, print::escaped(&text))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::check::subject::{Limits, Measured};

    /// A report of checks with these verdicts.
    pub(in crate::check) fn report(verdicts: &[Verdict]) -> Report {
        let line = |(index, verdict): (usize, &Verdict)| Line {
            name: format!("family/check{index}"),
            proves: "a < b & c",
            limits: if index % 2 == 0 { Limits::Adapter } else { Limits::WebgpuDefaults },
            verdict: *verdict,
            measured: Some(Measured::new(0.5, "ULP", "p[<1>]").with("of 2")),
            note: String::new(),
            seconds: 0.25,
        };
        let lines = verdicts.iter().enumerate().map(line).collect();
        Report::new(&Gpu::from_env().expect("a GPU"), Effort::Default, lines, 1.5)
    }

    #[test]
    fn a_failure_fails_the_whole_and_nothing_else_does() {
        use Verdict::{Fail, Known, NotAvailable, Pass};
        let good = report(&[Pass, Known, NotAvailable, Pass]);
        assert_eq!((good.passed, good.outcome()), (true, Outcome::Good));
        let counts = "pass: 2 passed, 0 failed, 1 known, 1 not available in 1.5 s";
        assert_eq!(good.summary(), counts);
        let bad = report(&[Pass, Fail]);
        assert_eq!((bad.passed, bad.outcome()), (false, Outcome::Failed));
        assert!(bad.summary().starts_with("fail: 1 passed, 1 failed, "));
        let json = serde_json::to_value(&bad).expect("JSON");
        assert_eq!(json["passed"], false);
        assert_eq!(json["checks"][1]["verdict"], "fail");
        assert_eq!(json["checks"][1]["limits"], "webgpu_defaults");
        assert_eq!(json["checks"][1]["measured"]["value"], 0.5);
    }

    #[test]
    fn a_line_tells_number_place_and_note() {
        let mut line = report(&[Verdict::Fail]).checks.remove(0);
        line.note = "expected at\n most 4 ULP".into();
        let text = begun(&line.name) + &ended(&line);
        let of = |verdict: &str, rest| {
            format!("family/check0                 {verdict:<13}   0.25 s  {rest}")
        };
        assert_eq!(text, of("fail", "0.500 ULP, p[<1>]; of 2; expected at\\n most 4 ULP\n"));
        let line = report(&[Verdict::Pass]).checks.remove(0);
        assert_eq!(begun(&line.name) + &ended(&line), of("pass", "0.500 ULP, p[<1>]\n"));
    }
}
