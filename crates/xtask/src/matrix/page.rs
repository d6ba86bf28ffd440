//! docs/conformance.md: tables of rows, of which a run may make a part anew.

use std::fmt::Write as _;

const HEAD: &str = "\
# What was run where

Written by `cargo xtask matrix --write`. `cargo xtask matrix` runs everything again and holds it against this page,
`cargo xtask matrix WORD…` the rows that have all of these words: `checks`, `steps`, or what stands in the first columns.
With `--write` these rows are written anew. On Debian 12 it installs, or fetches below `target`, whatever it needs. Another
version than the page's is told and is no failure; another result is one.

All drivers here are software: `lavapipe` and `gl` are Mesa's Vulkan and GL of Debian 12, `newer-lavapipe` and `newer-gl` those
of its backports, which Debian 13 has too, and `swiftshader` is Chromium's.
";

const HEAD_OF_CHECKS: &str = "\
## Drivers

`fallline check`: the engine in wgpu against the host, the f64 oracle and PyTorch's traces, first with the adapter's limits,
then with those that WebGPU promises. A known failure is a fault of the driver, listed in `crates/cli/src/check/known.rs`.
";

const HEAD_OF_STEPS: &str = "\
## Other implementations of WebGPU

Plans of `fallline export`, played by `tools/player.mjs` (wgpu-native: `tools/player.hpp`). The engine takes six steps on
the driver of the same row: other learning rates, a tensor without a gradient, micro-batches, another weight decay, an
infinite gradient, gradients set to zero. Then the player takes them, and every buffer of the plan is compared to the bit with
the engine's, except for the input of steps. Only the same driver promises the same bits, so each row has a recording
of its own: `swiftshader` is the file in Chromium's package that Chromium itself loads. The others are told the driver by
`VK_DRIVER_FILES`. Firefox names no adapter; with no driver in `VK_DRIVER_FILES` it has none.

The plans (`crates/cli/tests/cli/player/cases.rs`) are of rules of every kind: of single elements, of rows, columns and blocks,
of sums over tensors and over all of them. Each format of parameters, gradients and state, each precision, clipping, loss scales
and groups are among them. A plan is of an arena; borrowed buffers are among the checks above.
";

const NOT_HERE: &str = "\
## What is not here

| what | why |
|---|---|
| a hardware GPU | None was there. What compilers for AMD, NVIDIA, Intel, Apple, Arm, Qualcomm and Imagination make of the kernels: [compilers.md](compilers.md). |
| Metal, Safari | They need an Apple device. Of MSL there is naga's translation of all kernels (`cargo test --lib kernel`), which no compiler of Apple's has seen. |
| DX12, WARP | They need Windows. Microsoft's compiler accepts all kernels (`cargo xtask isa --dxc`). |
| Dawn for Node on `lavapipe` | It offers no adapter there. |
| Chromium on Mesa | Headless, without a GPU, it takes its own SwiftShader, whatever driver is named to it. |
| other implementations on GL | They were run on Vulkan; wgpu's GL backend is among the checks. |
| Android, iOS | No device was there, and no emulator was tried. |
";

/// A kind of rows: its columns, of which the first `names` are a row's name, and in `versions` stands what may change with
/// any release.
#[derive(Debug)]
pub(super) struct Table {
    head: &'static str,
    columns: &'static [&'static str],
    names: usize,
    versions: &'static [usize],
    /// Where it says how much was asked for: rows that differ there are not compared.
    effort: Option<usize>,
}

pub(super) const CHECKS: Table = Table {
    head: HEAD_OF_CHECKS,
    columns: &[
        "driver",
        "adapter; version",
        "checks",
        "passed",
        "failed",
        "known",
        "not available",
        "which did not pass",
    ],
    names: 1,
    versions: &[1],
    effort: Some(2),
};

pub(super) const STEPS: Table = Table {
    head: HEAD_OF_STEPS,
    columns: &[
        "WebGPU",
        "driver",
        "version; adapter",
        "recorded on",
        "plans",
        "steps",
        "buffers",
        "bytes",
        "result",
    ],
    names: 2,
    versions: &[2, 3],
    effort: None,
};

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) is_expected: bool,
}

impl Row {
    /// What could not be run: that stands in the last column.
    pub(super) fn broken(table: &Table, names: &[&str], why: &str) -> Self {
        let mut cells: Vec<String> = names.iter().map(ToString::to_string).collect();
        cells.resize(table.columns.len() - 1, "–".to_owned());
        cells.push(format!("not run: {why}"));
        Self { cells, is_expected: false }
    }

    pub(super) fn line(&self) -> String {
        let cell = |text: &String| text.replace('|', "\\|").replace('\n', " ");
        format!("| {} |", self.cells.iter().map(cell).collect::<Vec<_>>().join(" | "))
    }
}

impl Table {
    /// The line of a page that has the same name as a row.
    fn old<'a>(&self, page: &'a str, row: &Row) -> Option<&'a str> {
        let name = Row { cells: row.cells[..self.names].to_vec(), is_expected: true }.line();
        page.lines().find(|line| line.starts_with(&name) && cells(line).len() == self.columns.len())
    }

    /// What has changed since the page was written: a version, or a result.
    pub(super) fn change(&self, page: &str, row: &Row) -> Option<Change> {
        let Some(old) = self.old(page, row) else {
            return Some(Change::Result(format!("the page has no row {}", row.line())));
        };
        if old == row.line() {
            return None;
        }
        let line = row.line();
        let text = format!("the page has\n  {old}\nand found was\n  {line}");
        let (old, new) = (cells(old), cells(&line));
        let differs = |column: usize| old[column] != new[column];
        if row.is_expected && self.effort.is_some_and(differs) {
            return None;
        }
        let is_version = |column: usize| self.versions.contains(&column);
        let result = (0..self.columns.len()).any(|column| differs(column) && !is_version(column));
        Some(if result { Change::Result(text) } else { Change::Version(text) })
    }

    /// The table with these rows, each where its name is in the list, and the page's own where there is no new one.
    fn text(&self, page: &str, names: &[Vec<&str>], rows: &[Row]) -> String {
        let rule = self.columns.iter().map(|_| "---").collect::<Vec<_>>().join("|");
        let mut text = format!("{}\n| {} |\n|{rule}|\n", self.head, self.columns.join(" | "));
        for name in names {
            let is_named = |row: &&Row| row.cells[..self.names].iter().eq(name.iter());
            let empty =
                Row { cells: name.iter().map(ToString::to_string).collect(), is_expected: true };
            let new = rows.iter().find(is_named).map(Row::line);
            if let Some(line) = new.as_deref().or_else(|| self.old(page, &empty)) {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

/// How a row differs from the page's.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    Version(String),
    Result(String),
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_start_matches("| ").trim_end_matches(" |").split(" | ").collect()
}

/// The whole page: each table with the names of its rows, in order, and those that were made anew.
pub(super) fn text(
    page: &str,
    checks: (&[Vec<&str>], &[Row]),
    steps: (&[Vec<&str>], &[Row]),
) -> String {
    let (checks, steps) =
        (CHECKS.text(page, checks.0, checks.1), STEPS.text(page, steps.0, steps.1));
    format!("{HEAD}\n{checks}\n{steps}\n{NOT_HERE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, version: &str, result: &str) -> Row {
        let cells = [name, version, "default", "9", "0", "0", "0", result];
        Row { cells: cells.map(str::to_owned).to_vec(), is_expected: true }
    }

    #[test]
    fn a_part_is_written_and_the_rest_stays() {
        let names = [vec!["gl"], vec!["lavapipe"]];
        let rows = [row("lavapipe", "1", "–"), row("gl", "1", "a | b")];
        let first = text("", (&names, &rows), (&[], &[]));
        let [at, before] =
            [&rows[0], &rows[1]].map(|row| first.find(&row.line()).expect("it is there"));
        assert!(before < at && first.contains("| gl | 1 |"), "{first}");
        assert_eq!(text(&first, (&names, &rows[..1]), (&[], &[])), first);
        let second = text(&first, (&names, &[row("gl", "2", "–")]), (&[], &[]));
        assert!(second.contains(&rows[0].line()) && !second.contains(&rows[1].line()), "{second}");
        // What is no more has no row.
        assert!(!text(&first, (&names[1..], &[]), (&[], &[])).contains("| gl |"));
    }

    #[test]
    fn a_version_is_told_from_a_result() {
        let page = text("", (&[vec!["gl"]], &[row("gl", "1", "–")]), (&[], &[]));
        assert_eq!(CHECKS.change(&page, &row("gl", "1", "–")), None);
        let change = |row: &Row| CHECKS.change(&page, row).expect("something has changed");
        assert!(matches!(change(&row("gl", "2", "–")), Change::Version(_)));
        assert!(matches!(change(&row("gl", "2", "failed")), Change::Result(_)));
        assert!(matches!(change(&row("lavapipe", "1", "–")), Change::Result(_)));
        let mut quick = row("gl", "1", "–");
        (quick.cells[2], quick.cells[3]) = ("quick".to_owned(), "5".to_owned());
        assert_eq!(CHECKS.change(&page, &quick), None);
        let broken = Row::broken(&CHECKS, &["gl"], "it is\nnot there");
        assert_eq!((broken.cells.len(), broken.is_expected), (CHECKS.columns.len(), false));
        assert!(matches!(change(&broken), Change::Result(_)));
    }
}
