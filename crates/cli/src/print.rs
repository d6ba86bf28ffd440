//! What commands say: results on stdout; warnings, errors and progress on stderr.
//!
//! Names come from files and paths from users: a newline in one would forge a line, an escape sequence
//! would move the cursor. So whatever is printed goes through [`escaped`].

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, ErrorKind, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// Whether a result goes to stdout that messages must not be mixed with.
static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// Sends what is printed from now on to stderr: stdout holds an output.
pub(crate) fn to_stderr() {
    TO_STDERR.store(true, Ordering::Relaxed);
}

/// Prints to stdout. That nobody reads on (`fallline train | head -1`) is no error: the files are
/// still to come.
pub(crate) fn print(text: impl Display) -> anyhow::Result<()> {
    // Lines are the caller's, who escapes the names in them; the rest is escaped here in any case.
    let text = text.to_string();
    let text = escape(&text, |c| c == '\n');
    if TO_STDERR.load(Ordering::Relaxed) {
        return unless_closed(io::stderr().write_all(text.as_bytes()))
            .context("cannot write to stderr");
    }
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    unless_closed(printed).context("cannot write to stdout")
}

/// Says one line on stderr.
pub(crate) fn warn(text: impl Display) {
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(io::stderr(), "fallline: {}", escaped(&text.to_string()));
}

/// What was written, where a reader that went away is no error.
pub(crate) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// An error in one line: the chain of causes, from the command's view down, each said once.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let mut text = cause.to_string();
        // wgpu's words are in several lines; that is no name's doing.
        if let Some(fallline::Error::Gpu { .. } | fallline::Error::NoDevice { .. }) =
            cause.downcast_ref()
        {
            text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        // Some errors tell their cause, and are asked for it besides.
        if !text.is_empty() && !causes.last().is_some_and(|last| last.ends_with(&text)) {
            causes.push(text);
        }
    }
    escaped(&causes.join(": ")).into_owned()
}

/// A path as it is printed.
pub(crate) fn path(path: &Path) -> String {
    escaped(&path.display().to_string()).into_owned()
}

/// Text as it is printed: characters that end a line, move the cursor or turn the direction of
/// writing are spelled out, as `\n` or `\u{1b}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_harmful = |c: char| {
        let turns = matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
        (c.is_control() || turns || ends_line) && !is_kept(c)
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A table with names in the first two columns, at the left, and numbers in the others, at the right.
pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let safe = |cells: Vec<String>| -> Vec<String> {
        cells.iter().map(|cell| escaped(cell).into_owned()).collect()
    };
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).map(safe).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let line = |cells: &Vec<String>| {
        let cell = |(column, (text, width)): (usize, (&String, &usize))| match column {
            0 | 1 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        };
        let cells: Vec<String> = cells.iter().zip(&widths).enumerate().map(cell).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// Columns of a terminal that tables and whole sentences fit.
pub(crate) const WIDTH: usize = 100;

/// Text in lines of at most [`WIDTH`] characters, broken at spaces; what goes on is indented by two more than its line.
pub(crate) fn wrapped(text: &str) -> String {
    let wrap = |line: &str| {
        let words = line.trim_start_matches(' ');
        let indent = &line[..line.len() - words.len()];
        let (mut wrapped, mut len) = (indent.to_owned(), indent.len());
        for (index, word) in words.split(' ').enumerate() {
            let word_len = word.chars().count();
            if index > 0 && len + 1 + word_len > WIDTH {
                wrapped = wrapped + "\n" + indent + "  ";
                len = indent.len() + 2;
            } else if index > 0 {
                wrapped.push(' ');
                len += 1;
            }
            wrapped.push_str(word);
            len += word_len;
        }
        wrapped
    };
    text.split('\n').map(wrap).collect::<Vec<_>>().join("\n")
}

/// A progress bar on stderr; hidden when stderr is no terminal.
pub(crate) fn progress(len: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(len as u64).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_harms_a_terminal_is_spelled_out() {
        for (text, expected) in [
            ("a\nb\u{1b}[31m", r"a\nb\u{1b}[31m"),
            ("\t\r\0\u{7f}\u{9b}", r"\t\r\u{0}\u{7f}\u{9b}"),
            ("\u{2028}\u{202e}\u{2066}\u{200f}", r"\u{2028}\u{202e}\u{2066}\u{200f}"),
        ] {
            assert_eq!(escaped(text), expected);
        }
        for text in ["", "plain/name.weight", "größe 重み e\u{301}", r"C:\temp", "'\"'"] {
            assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_what_is_printed() {
        let row = |name: &str| vec![name.to_owned(), "x".to_owned(), "1".to_owned()];
        let text = table(&["name", "what", "n"], [row("a\nb"), row("wider")].into_iter());
        assert_eq!(text, "name   what  n\na\\nb   x     1\nwider  x     1\n");
    }

    #[test]
    fn long_lines_are_wrapped_and_short_ones_are_left() {
        let words = ["word"; 45].join(" ");
        let text = format!("{words}\n\nshort\n{}\n", "x".repeat(2 * WIDTH));
        let wrapped = wrapped(&text);
        let lines: Vec<&str> = wrapped.split('\n').collect();
        // 5 n - 1 characters of n words, then 5 n + 1.
        assert_eq!(lines[0].len(), 99);
        assert_eq!((lines[1].len(), &lines[1][..6]), (96, "  word"));
        assert_eq!(lines[3..], ["", "short", &"x".repeat(2 * WIDTH), ""]);
        let unwrapped = lines[..3].concat().replace("  ", " ");
        assert_eq!(unwrapped, words);
        let indented = super::wrapped(&format!("    {words}"));
        assert!(indented.starts_with("    word word") && indented.contains("\n      word word"));
    }

    #[test]
    fn a_cause_is_said_once_and_names_keep_to_their_line() {
        let twice = anyhow!("a name\nof two lines").context("it failed: a name\nof two lines");
        assert_eq!(message(&twice.context("here")), r"here: it failed: a name\nof two lines");
        let (what, message_of) =
            ("a pass".to_owned(), |error: fallline::Error| message(&error.into()));
        let error = fallline::Error::Gpu { what, message: "a\n\nCaused by:\n  b\u{1b}".into() };
        assert_eq!(message_of(error), r"the GPU refused a pass: a Caused by: b\u{1b}");
    }
}
