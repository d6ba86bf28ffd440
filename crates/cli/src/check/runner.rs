//! Runs checks, one after the other, whatever a driver does to one of them.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    time::Instant,
};

use anyhow::{Context, Result};
use fallline::Gpu;
use serde::Serialize;

use super::{
    known::Fault,
    subject::{Check, Effort, Finding, Limits, Measured, Subject},
};
use crate::print;

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Pass,
    /// It fails, or passes where a known fault should make it fail.
    Fail,
    /// It fails by a fault that is known.
    Known,
    NotAvailable,
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::Pass, Self::Fail, Self::Known, Self::NotAvailable];

    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Known => "known",
            Self::NotAvailable => "not available",
        }
    }
}

/// One check, done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) proves: &'static str,
    pub(crate) limits: Limits,
    pub(crate) verdict: Verdict,
    pub(crate) measured: Option<Measured>,
    /// What was expected where it fails, what a driver said, which fault is known, why it is not available.
    pub(crate) note: String,
    pub(crate) seconds: f64,
}

/// What checks are run with.
pub(crate) struct Runner<'a> {
    pub(crate) limits: Limits,
    pub(crate) effort: Effort,
    pub(crate) faults: &'a [Fault],
    /// Opens the device: once, and again where a check has lost it.
    pub(crate) open: &'a mut dyn FnMut(Limits) -> Result<Gpu>,
    /// Is told of each check before it begins, and then of what became of it.
    pub(crate) watch: &'a mut dyn FnMut(&Check, Option<&Line>) -> Result<()>,
}

impl Runner<'_> {
    /// All of these checks, in order.
    ///
    /// # Errors
    /// Those of `watch`.
    pub(crate) fn run(&mut self, checks: &[&Check]) -> Result<Vec<Line>> {
        let mut subject = None;
        let mut lines = Vec::new();
        for check in checks {
            (self.watch)(check, None)?;
            let start = Instant::now();
            let (verdict, measured, note) = self.judge(check, &mut subject);
            let seconds = start.elapsed().as_secs_f64();
            let (name, proves, limits) = (check.name.clone(), check.proves, self.limits);
            let line = Line { name, proves, limits, verdict, measured, note, seconds };
            (self.watch)(check, Some(&line))?;
            lines.push(line);
        }
        Ok(lines)
    }

    /// Runs a check on the device of the one before, if that has left it alive.
    fn judge(
        &mut self,
        check: &Check,
        kept: &mut Option<Subject>,
    ) -> (Verdict, Option<Measured>, String) {
        let subject = match kept.take().map_or_else(|| self.subject(), Ok) {
            Ok(subject) => subject,
            Err(error) => return (Verdict::Fail, None, print::message(&error)),
        };
        let found = panic::catch_unwind(AssertUnwindSafe(|| check.run(&subject)));
        let is_sound = found.is_ok();
        let found =
            found.unwrap_or_else(|panic| Err(anyhow::anyhow!("a panic: {}", said(&*panic))));
        let (verdict, measured, note) = match found {
            Ok(Finding::Passed(measured)) => (Verdict::Pass, Some(measured), String::new()),
            Ok(Finding::Failed { measured, expected }) => {
                (Verdict::Fail, Some(measured), format!("expected {expected}"))
            }
            Ok(Finding::NotAvailable(why)) => (Verdict::NotAvailable, None, why),
            Err(error) => (Verdict::Fail, None, print::message(&error)),
        };
        let judged = match (verdict, Fault::find(self.faults, &check.name, &subject.adapter())) {
            (Verdict::Fail, Some(fault)) => {
                (Verdict::Known, measured, format!("{fault}; found: {note}"))
            }
            (Verdict::Pass, Some(fault)) => {
                let note = format!("this fault is known, but is not found any more: {fault}");
                (Verdict::Fail, measured, note)
            }
            _ => (verdict, measured, note),
        };
        // A device after a panic may be in any state.
        let is_alive = || panic::catch_unwind(AssertUnwindSafe(|| subject.gpu.wait().is_ok()));
        if is_sound && is_alive().is_ok_and(|alive| alive) {
            *kept = Some(subject);
        }
        judged
    }

    fn subject(&mut self) -> Result<Subject> {
        let opened = panic::catch_unwind(AssertUnwindSafe(|| (self.open)(self.limits)));
        let opened = opened.unwrap_or_else(|panic| Err(anyhow::anyhow!("{}", said(&*panic))));
        let gpu = opened.context("the device cannot be opened")?;
        Ok(Subject { gpu, effort: self.effort })
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use fallline::wgpu;

    use super::*;
    use crate::check::known::tests::anywhere;

    /// Runs these with these faults known; tells how often the device was opened.
    fn run(checks: &[Check], faults: &[Fault]) -> (Vec<Line>, usize) {
        let mut opened = 0;
        let mut open = |_| {
            opened += 1;
            Ok(Gpu::from_env()?)
        };
        let runner = &mut Runner {
            limits: Limits::Adapter,
            effort: Effort::Quick,
            faults,
            open: &mut open,
            watch: &mut |_, _| Ok(()),
        };
        let lines = runner.run(&checks.iter().collect::<Vec<_>>()).expect("nothing is printed");
        (lines, opened)
    }

    fn check(name: &str, run: impl Fn(&Subject) -> Result<Finding> + 'static) -> Check {
        Check::new(name, "something", run)
    }

    fn passes(_: &Subject) -> Result<Finding> {
        Ok(Measured::new(1.0, "ULP", "p[0]").at_most(4.0))
    }

    fn fails(_: &Subject) -> Result<Finding> {
        Ok(Measured::new(5.0, "ULP", "p[0]").at_most(4.0))
    }

    fn verdicts(lines: &[Line]) -> Vec<Verdict> {
        lines.iter().map(|line| line.verdict).collect()
    }

    #[test]
    fn whatever_a_driver_does_fails_one_check_and_the_rest_goes_on() {
        let checks = [
            check("a/passes", passes),
            check("a/beyond", fails),
            check("a/error", |_| bail!("the compiler said no")),
            check("a/panic", |_| panic!("a validation\n   layer")),
            check("a/uncaptured", |subject| {
                // A shader that is none: outside of an error scope wgpu panics.
                let source = wgpu::ShaderSource::Wgsl("fn".into());
                let descriptor = wgpu::ShaderModuleDescriptor { label: Some("none"), source };
                let _ = subject.gpu.device().create_shader_module(descriptor);
                passes(subject)
            }),
            check("a/lost", |subject| {
                subject.gpu.device().destroy();
                subject.gpu.wait()?;
                passes(subject)
            }),
            check("a/absent", |_| Ok(Finding::NotAvailable("no memory".into()))),
            check("a/again", |subject| {
                subject.gpu.wait()?;
                passes(subject)
            }),
        ];
        let (lines, opened) = run(&checks, &[]);
        use Verdict::{Fail, NotAvailable, Pass};
        assert_eq!(
            verdicts(&lines),
            [Pass, Fail, Fail, Fail, Fail, Fail, NotAvailable, Pass],
            "{lines:#?}"
        );
        let notes: Vec<&str> = lines.iter().map(|line| line.note.as_str()).collect();
        assert_eq!(notes[1], "expected at most 4 ULP");
        assert_eq!(notes[2], "the compiler said no");
        assert_eq!(notes[3], "a panic: a validation layer");
        assert!(notes[4].contains("Shader"), "{}", notes[4]);
        assert_eq!(notes[5], "the GPU device is lost");
        // At the beginning, after each panic, and after the loss.
        assert_eq!(opened, 4);
    }

    #[test]
    fn a_device_that_cannot_be_opened_again_fails_what_is_left() {
        let mut devices = 1;
        let mut open = |_| {
            devices -= 1;
            if devices < 0 { bail!("it is gone") } else { Ok(Gpu::from_env()?) }
        };
        let checks = [check("a/panic", |_| panic!("x")), check("a/next", passes)];
        let runner = &mut Runner {
            limits: Limits::Adapter,
            effort: Effort::Quick,
            faults: &[],
            open: &mut open,
            watch: &mut |_, _| Ok(()),
        };
        let lines = runner.run(&checks.iter().collect::<Vec<_>>()).expect("nothing is printed");
        assert_eq!(verdicts(&lines), [Verdict::Fail; 2]);
        assert_eq!(lines[1].note, "the device cannot be opened: it is gone");
    }

    #[test]
    fn a_known_fault_is_no_failure_until_it_is_gone() {
        let checks = [
            check("a/wrong", fails),
            check("a/repaired", passes),
            check("b/absent", |_| Ok(Finding::NotAvailable("no memory".into()))),
            check("c/wrong", fails),
        ];
        let (lines, _) = run(&checks, &[anywhere("a"), anywhere("b/absent")]);
        use Verdict::{Fail, Known, NotAvailable};
        assert_eq!(verdicts(&lines), [Known, Fail, NotAvailable, Fail]);
        let link = "it rounds up (https://example.org/1)";
        assert_eq!(lines[0].note, format!("{link}; found: expected at most 4 ULP"));
        assert!(lines[1].note.contains("not found any more") && lines[1].note.contains(link));
    }
}
