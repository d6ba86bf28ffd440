use std::{io, path::PathBuf};

/// What this crate's functions give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: "open".
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file that is no safetensors file.
    #[error("{} is no safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A safetensors file that is no checkpoint.
    #[error("{} is a safetensors file, but no checkpoint of fallline: {reason}", path.display())]
    NotCheckpoint {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// A checkpoint of a version that this crate does not know.
    #[error("{} is a checkpoint of version {found}, known are those up to {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The newest that is read.
        known: u32,
    },
    /// A file of another length than its header says.
    #[error("{} must have {expected} bytes by its header, found {found}", path.display())]
    FileLength {
        /// The file.
        path: PathBuf,
        /// What its header says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Bytes that are not those that were written.
    #[error(
        "{} is damaged: the CRC-32 of {what} must be {expected:08x}, found {found:08x}",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// A tensor of the file, or the header.
        what: String,
        /// What was written.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// A tensor that no checkpoint has, or not so.
    #[error("{}: tensor '{tensor}' {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the caller saves besides, or wants to have back, in a form that it cannot have.
    #[error("the caller's extra of {} {direction} JSON", path.display())]
    Extra {
        /// The file.
        path: PathBuf,
        /// "cannot become" or "cannot be read from".
        direction: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// The engine could not save.
    #[error("cannot save {}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<fallline::Error>,
    },
    /// The engine could not load: most often the optimizer is another than was saved.
    #[error("cannot load {}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<fallline::Error>,
    },
}

/// Why the system refused something.
pub(crate) fn io(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { action, path, source }
}
