//! What systems have in different ways: which file is which, modes and owners.

#[cfg(not(unix))]
pub(super) use other::{create, inode, may_replace, stream};
#[cfg(unix)]
pub(super) use unix::{create, inode, may_replace, stream};

#[cfg(unix)]
mod unix {
    use std::{
        fs::{File, Metadata, OpenOptions},
        io,
        os::{
            fd::{AsFd, BorrowedFd},
            unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
        },
        path::Path,
    };

    use super::super::Stream;

    /// Device and number.
    pub(crate) fn inode(found: &Metadata) -> Option<(u64, u64)> {
        Some((found.dev(), found.ino()))
    }

    /// The stream of this process that writes into this. A terminal or /dev/null is none: it is the
    /// same however it is opened.
    pub(crate) fn stream(found: &Metadata) -> Option<Stream> {
        let kind = found.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return None;
        }
        let is = |fd: BorrowedFd<'_>| {
            let file = fd.try_clone_to_owned().map(File::from);
            file.and_then(|file| file.metadata()).is_ok_and(|own| inode(&own) == inode(found))
        };
        if is(io::stdout().as_fd()) {
            Some(Stream::Stdout)
        } else if is(io::stderr().as_fd()) {
            Some(Stream::Stderr)
        } else {
            None
        }
    }

    /// Creates a file that is not there: as the user's mask has it, or at first for nobody else.
    pub(crate) fn create(path: &Path, private: bool) -> io::Result<File> {
        let mode = if private { 0o600 } else { 0o666 };
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    }

    /// Whether nothing but contents and mode would differ, and no other name keep the old contents.
    pub(crate) fn may_replace(new: &Metadata, old: &Metadata) -> bool {
        old.nlink() == 1 && (new.uid(), new.gid()) == (old.uid(), old.gid())
    }
}

#[cfg(not(unix))]
mod other {
    use std::{
        fs::{File, Metadata, OpenOptions},
        io,
        path::Path,
    };

    use super::super::Stream;

    pub(crate) fn inode(_: &Metadata) -> Option<(u64, u64)> {
        None
    }

    pub(crate) fn stream(_: &Metadata) -> Option<Stream> {
        None
    }

    pub(crate) fn create(path: &Path, _: bool) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    pub(crate) fn may_replace(_: &Metadata, _: &Metadata) -> bool {
        true
    }
}
