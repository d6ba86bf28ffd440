//! What commands leave behind: on stdout, in files, and progress on stderr.

use std::{
    ffi::OsString,
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};

/// Prints to stdout. That nobody reads on (`fallline train | head -1`) is no error: the files are
/// still to come.
pub(crate) fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.to_string().as_bytes()).and_then(|()| stdout.flush());
    unless_closed(printed).context("cannot write to stdout")
}

fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Fails if one of these files could not be written, is named twice, or lies where another is written
/// first: to be called before the work whose results they shall hold. Leaves nothing behind.
pub(crate) fn check_writable<'a>(
    paths: impl IntoIterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    let mut seen: Vec<(PathBuf, OsString)> = Vec::new();
    for path in paths {
        ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
        // To open a named pipe would be to wait for who reads it.
        if is_special(path) {
            continue;
        }
        // Beside its place, as the result will be: what lies there already stays until then.
        let (place, beside) = places(path);
        for (other, other_beside) in &seen {
            ensure!(*other != place, "{} is given for two outputs", path.display());
            ensure!(
                Path::new(&beside) != other && Path::new(other_beside) != place,
                "{} and {} cannot both be outputs: one would be written in the other's place first",
                other.display(),
                path.display()
            );
        }
        seen.push((place, beside.clone()));
        let context = || format!("cannot write {}", path.display());
        File::create(&beside).with_context(context)?;
        fs::remove_file(&beside).with_context(context)?;
    }
    Ok(())
}

/// Fails if to write one of these files would be to overwrite the input.
pub(crate) fn check_keeps<'a>(
    input: &Path,
    paths: impl IntoIterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    let input = input.canonicalize().unwrap_or_else(|_| input.to_owned());
    for path in paths {
        let (place, beside) = places(path);
        ensure!(place != input, "{} is given for input and output", path.display());
        ensure!(
            Path::new(&beside) != input,
            "{} is given for input, and {} would be written there first",
            input.display(),
            path.display()
        );
    }
    Ok(())
}

/// Writes a result as indented JSON.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Writes a file whole: beside its place first, so that no half of it is ever left there. What is
/// no regular file (/dev/null, a pipe) is written into instead, as nothing may take its place.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        if is_special(path) {
            return unless_closed(OpenOptions::new().write(true).open(path)?.write_all(bytes));
        }
        let (place, beside) = places(path);
        fs::write(&beside, bytes)?;
        fs::rename(&beside, place)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Whether there is something other than a regular file, links followed.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// Where the file lies, behind any links, and where it is until it is whole.
fn places(path: &Path) -> (PathBuf, OsString) {
    let place = path.canonicalize().or_else(|_| std::path::absolute(path));
    let place = place.unwrap_or_else(|_| path.to_owned());
    let mut beside = place.clone().into_os_string();
    beside.push(".part");
    (place, beside)
}

/// A table with names in the first two columns, at the left, and numbers in the others, at the right.
pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
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
    use super::*;

    /// A folder of this test's own, empty.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("fallline {} {name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        path
    }

    fn len(folder: &Path) -> usize {
        fs::read_dir(folder).expect("it is there").count()
    }

    #[test]
    fn what_cannot_be_written_is_found_out() {
        let dir = folder("checked");
        let file = dir.join("train.svg");
        assert!(check_writable([&dir]).is_err());
        assert!(check_writable([&dir.join("missing/train.svg")]).is_err());
        assert!(check_writable([&file, &dir.join("train.csv")]).is_ok());
        assert!(check_writable([&file, &file]).is_err());
        assert!(check_writable([&file, &dir.join("./train.svg")]).is_err());
        assert_eq!(len(&dir), 0);
        fs::write(&file, "old").expect("a file");
        assert!(check_writable([&file]).is_ok());
        assert_eq!(fs::read(&file).expect("it is there"), b"old");
        fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = folder("written");
        let file = dir.join("result");
        for text in ["the longer one", "short"] {
            write(&file, text.as_bytes()).expect("written");
            assert_eq!(fs::read(&file).expect("it is there"), text.as_bytes());
        }
        assert_eq!(len(&dir), 1);
        fs::remove_dir_all(dir).expect("removed");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_name_is_written() {
        let dir = folder("linked");
        let (file, link) = (dir.join("file"), dir.join("link"));
        fs::write(&file, "old").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write(&link, b"new").expect("written");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).expect("it is there"), b"new");
        fs::remove_dir_all(dir).expect("removed");
    }

    #[cfg(unix)]
    #[test]
    fn special_files_stay_what_they_are() {
        let dir = folder("special");
        let (null, link) = (PathBuf::from("/dev/null"), dir.join("link"));
        std::os::unix::fs::symlink(&null, &link).expect("a link");
        assert!(check_writable([&null, &null, &link]).is_ok());
        for path in [&null, &link] {
            write(path, b"gone").expect("written");
            assert!(is_special(path), "{}", path.display());
        }
        assert!(link.is_symlink());
        assert_eq!(len(&dir), 1);
        fs::remove_dir_all(dir).expect("removed");
    }
}
