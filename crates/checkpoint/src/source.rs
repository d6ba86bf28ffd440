//! An optimizer's entries on their way out of a file.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    sync::{Mutex, PoisonError},
};

use fallline::{Encoding, LoadSource, SavedEntry, StateFormat};

/// Where an entry lies, counted from where the data begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) begin: u64,
    /// Of codes.
    pub(crate) scales_begin: Option<u64>,
}

/// A file that entries are read from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Mutex<File>,
    pub(crate) data_begin: u64,
    pub(crate) entries: &'a [SavedEntry],
    pub(crate) stored: &'a [Stored],
}

impl LoadSource for Source<'_> {
    fn table(&mut self) -> io::Result<Vec<SavedEntry>> {
        Ok(self.entries.to_vec())
    }

    fn read(&mut self, entry: usize, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let known = self.entries.get(entry).zip(self.stored.get(entry));
        let (entry, stored) = known.ok_or(ErrorKind::InvalidInput)?;
        let end = offset.checked_add(bytes.len() as u64);
        let end = end.filter(|end| *end <= entry.size_bytes).ok_or(ErrorKind::UnexpectedEof)?;
        let (Encoding::Blocks { format, .. }, Some(scales_begin)) =
            (entry.encoding, stored.scales_begin)
        else {
            return self.get(stored.begin + offset, bytes);
        };
        // The tiles that these bytes are of.
        let tile = format.blocks_size_bytes(1);
        let tiles = (offset / tile, end.div_ceil(tile));
        let len_elems: u64 = entry.shape.iter().map(|dim| *dim as u64).product();
        let first = tiles.0 * StateFormat::TILE_ELEMS;
        let elems = (tiles.1 * StateFormat::TILE_ELEMS).min(len_elems).saturating_sub(first);
        let mut codes = zeros(format.codes_size_bytes(elems))?;
        self.get(stored.begin + format.codes_size_bytes(first), &mut codes)?;
        let mut scales = zeros(format.scales_size_bytes(elems))?;
        self.get(scales_begin + format.scales_size_bytes(first), &mut scales)?;
        let blocks = format.join_blocks(elems, &codes, &scales).map_err(io::Error::other)?;
        let skipped = usize::try_from(offset - tiles.0 * tile).unwrap_or(usize::MAX);
        let wanted = blocks.get(skipped..).and_then(|blocks| blocks.get(..bytes.len()));
        bytes.copy_from_slice(wanted.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source<'_> {
    fn get(&self, begin: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_at(self.file, self.data_begin + begin, bytes)
    }
}

/// Reads bytes from a place on. A file has one cursor, whoever reads it.
pub(crate) fn read_at(file: &Mutex<File>, place: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(place))?;
    file.read_exact(bytes)
}

fn zeros(len: u64) -> io::Result<Vec<u8>> {
    Ok(vec![0; usize::try_from(len).map_err(io::Error::other)?])
}
