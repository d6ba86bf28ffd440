//! Files of the repository, which tests read.

use std::{env, path::PathBuf};

/// A file, from where cargo says that this package is, or where it was built: tests may run on another machine.
pub(crate) fn path(file: &str) -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("../..").join(file)
}
