use std::{
    fs::File,
    io::{self, Write},
};

use super::Stream;
use crate::print::unless_closed;

/// An output that is written line by line. That nobody reads a pipe is no error.
#[derive(Debug)]
pub(crate) enum Growing {
    /// A regular file, at its beginning, with what was there.
    File(File),
    /// What has nothing to be read or cut.
    Special(File),
    Stream(Stream),
}

impl Growing {
    /// Waits until the disk has it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Special(_) | Self::Stream(_) => Ok(()),
        }
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::File(file) | Self::Special(file) => file.write_all(bytes),
            Self::Stream(stream) => stream.write(bytes),
        };
        unless_closed(written).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
