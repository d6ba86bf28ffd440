//! The report as one page of HTML, to go with a bug report: no script, nothing to be loaded.

use std::fmt::Write;

use super::{
    bandwidth,
    report::Report,
    runner::{Line, Verdict},
    subject::Limits,
};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let verdict = if report.passed { "pass" } else { "fail" };
    let name = escaped(&report.adapter.name);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>fallline check: {verdict}, {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>fallline check <span id=\"verdict\" class=\"{verdict}\">{verdict}</span></h1>\n\
         <p id=\"counts\">{} in {:.1} s</p>\n",
        report.counts, report.seconds
    );
    page += &device(report);
    page += &bars(&report.checks);
    for limits in [Limits::Adapter, Limits::WebgpuDefaults] {
        let lines: Vec<&Line> = report.checks.iter().filter(|line| line.limits == limits).collect();
        if !lines.is_empty() {
            let _ = write!(page, "<h2>With {limits}</h2>\n{}", table(&lines));
        }
    }
    page + "</body>\n</html>\n"
}

/// Adapter, limits and features.
fn device(report: &Report) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(rows, "<tr><th>{name}</th><td>{}</td></tr>", escaped(value));
    };
    row("adapter", &report.adapter.name);
    row("backend", &report.adapter.backend);
    row("driver", &report.adapter.driver);
    row(
        "device",
        &format!(
            "{}, vendor {:#06x}, device {:#06x}",
            report.device_type, report.vendor, report.device
        ),
    );
    row("system", &report.system);
    let effort = serde_json::to_value(report.effort).unwrap_or_default();
    row("fallline", &format!("{}, {} checks", report.version, effort.as_str().unwrap_or("")));
    for (name, value) in report.limits.in_words().into_iter().chain(report.features.in_words()) {
        row(name, &value);
    }
    format!("<table class=\"device\">\n{rows}</table>\n")
}

/// A bar for each measurement of speed: the step's bare loads and stores by the step.
fn bars(lines: &[Line]) -> String {
    /// Of the picture, of a bar's row, of the names, and of a bar that is as long as can be.
    const WIDTH: f64 = 760.0;
    const HEIGHT: f64 = 30.0;
    const LEFT: f64 = 190.0;
    const SCALE: f64 = 340.0;
    let measured = lines.iter().filter_map(|line| {
        let measured = line.measured.as_ref().filter(|found| found.unit == bandwidth::UNIT)?;
        Some((line.name.as_str(), measured.value?, measured.at.as_str()))
    });
    let measured: Vec<_> = measured.collect();
    if measured.is_empty() {
        return String::new();
    }
    let height = HEIGHT * measured.len() as f64 + 24.0;
    let mut svg = format!(
        "<h2>Speed, as a part of what memory gives</h2>\n<svg viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"roofline\">\n"
    );
    for tenth in [0.0, 5.0, 10.0] {
        let (x, bottom) = (LEFT + SCALE * tenth / 10.0, height - 22.0);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x} 0V{bottom}\"/>\
             <text class=\"axis\" x=\"{x}\" y=\"{}\">{}%</text>",
            height - 6.0,
            10.0 * tenth
        );
    }
    for (index, (name, part, at)) in measured.into_iter().enumerate() {
        let y = HEIGHT * index as f64;
        // A little more than all is noise, and fits.
        let length = SCALE * part.clamp(0.0, 1.3);
        let middle = y + HEIGHT / 2.0 + 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"{middle}\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\"><title>{}</title></rect>\
             <text x=\"{:.1}\" y=\"{middle}\">{:.0}%, {}</text>",
            escaped(name),
            y + 5.0,
            HEIGHT - 10.0,
            escaped(at),
            LEFT + length + 8.0,
            100.0 * part,
            // The first of its numbers.
            escaped(at.split(',').next().unwrap_or(""))
        );
    }
    svg + "</svg>\n"
}

fn table(lines: &[&Line]) -> String {
    let mut table = "<table class=\"checks\">\n<tr><th>check</th><th>verdict</th>\
                     <th>what it proves</th><th>measured</th><th>s</th></tr>\n"
        .to_owned();
    for line in lines {
        let measured = line.measured.as_ref().map(ToString::to_string).unwrap_or_default();
        let detail = line.measured.as_ref().map_or("", |measured| &measured.detail);
        let texts = [detail, &line.note].into_iter().filter(|text| !text.is_empty());
        let note = |text| format!("<p class=\"note\">{}</p>", escaped(text));
        let note: String = texts.map(note).collect();
        let verdict = line.verdict.in_words();
        let class = if line.verdict == Verdict::NotAvailable { "absent" } else { verdict };
        let _ = writeln!(
            table,
            "<tr><td>{}</td><td class=\"{class}\">{verdict}</td><td>{}</td><td>{}{note}</td>\
             <td>{:.2}</td></tr>",
            escaped(&line.name),
            escaped(line.proves),
            escaped(&measured),
            line.seconds
        );
    }
    table + "</table>\n"
}

/// Text in HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{report::tests::report, subject::Measured};

    #[test]
    fn the_page_tells_the_verdict_and_what_names_say_is_text() {
        use Verdict::{Fail, Known, NotAvailable, Pass};
        let mut report = report(&[Pass, Fail, Known, NotAvailable]);
        report.adapter.name = "<script>alert(1)</script>".into();
        report.checks[1].note = "a \"shader\" <did> & failed".into();
        let page = html(&report);
        assert!(page.contains("<span id=\"verdict\" class=\"fail\">fail</span>"), "{page}");
        assert!(page.contains("a &quot;shader&quot; &lt;did&gt; &amp; failed"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
        assert_eq!(page.matches("<tr><td>").count(), 4);
        assert!(page.contains("With WebGPU's default limits") && !page.contains("<svg"));
    }

    #[test]
    fn a_bar_is_as_long_as_its_part() {
        let mut report = report(&[Verdict::Pass]);
        report.checks[0].measured = Some(Measured::new(0.5, bandwidth::UNIT, "1 GB/s, 2 ms"));
        let page = html(&report);
        assert!(page.contains("width=\"170.0\"") && page.contains(">50%, 1 GB/s</text>"), "{page}");
    }
}
