//! The binary, run as a user runs it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("stdout is text"),
            err: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

impl Ran {
    /// It ended well.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with one clear line on stderr, which says this.
    #[track_caller]
    pub(crate) fn says(self, expected: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("fallline: ") && self.err.contains(expected), "{self:?}");
    }
}

/// Runs `fallline` with these arguments.
pub(crate) fn fallline<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_fallline")).args(arguments))
}

/// Runs `fallline` with nobody who reads what it prints, as `fallline … | true`.
pub(crate) fn unread<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    // The reading end is dropped before there is anything to read.
    let (_, closed) = std::io::pipe().expect("a pipe");
    run(Command::new(env!("CARGO_BIN_EXE_fallline")).args(arguments).stdout(closed))
}

/// Runs a command among the scratch files.
pub(crate) fn run(command: &mut Command) -> Ran {
    // Mesa's device-select layer complains on stderr where there is no display.
    command.env("NODEVICE_SELECT", "1").current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::null()).output().expect("the binary was built").into()
}

/// A file for this test alone.
pub(crate) fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A golden file.
pub(crate) fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}
