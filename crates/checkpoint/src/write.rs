//! An optimizer's entries on their way into a file.

use std::{
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    path::Path,
};

use crc32fast::Hasher;
use fallline::{Encoding, Optimizer, SaveSink, SavedEntry};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::{
    Error, Result, SavedGroup, encoding,
    header::{Header, Placed},
    place,
};

/// Writes a checkpoint whole into its place, or leaves there what there is.
pub(crate) async fn write(
    path: &Path,
    optimizer: &Optimizer,
    step: u64,
    extra: &impl Serialize,
    params: bool,
) -> Result<()> {
    let extra = serde_json::to_string(extra).map_err(|source| {
        let direction = "cannot become";
        Error::Extra { path: path.into(), direction, source }
    })?;
    let failed = |source: fallline::Error| Error::Save { path: path.into(), source: source.into() };
    let groups = SavedGroup::all(optimizer).map_err(failed)?;
    let header = Header { step, extra, groups, tensors: Vec::new() };
    let mut sink = Sink {
        file: place::begin(path)?,
        path,
        params,
        header,
        data_begin: 0,
        entries: Vec::new(),
        crcs: Vec::new(),
    };
    optimizer.save_to(&mut sink).await.map_err(failed)?;
    place::finish(sink.finish()?, path)
}

/// A file that entries are written into, each at its place, as they come.
struct Sink<'a> {
    file: NamedTempFile,
    path: &'a Path,
    params: bool,
    header: Header,
    /// Where the data begin in the file.
    data_begin: u64,
    entries: Vec<Entry>,
    /// Of each tensor of the header.
    crcs: Vec<Hasher>,
}

/// How much of an entry has come, and where it goes.
struct Entry {
    encoding: Encoding,
    size_bytes: u64,
    /// Elements, of which the last tile has only some.
    len_elems: u64,
    written: u64,
    /// The tensors of the header that are its codes, or all of it, and its scales.
    tensors: Vec<usize>,
}

impl SaveSink for Sink<'_> {
    fn wants_params(&self) -> bool {
        self.params
    }

    fn table(&mut self, entries: &[SavedEntry]) -> io::Result<()> {
        let mut tensors = Vec::new();
        for entry in entries {
            let known = encoding::tensors(entry);
            let unknown = || format!("checkpoints do not know the encoding of {entry}");
            let own = known.ok_or_else(|| io::Error::new(ErrorKind::Unsupported, unknown()))?;
            let len_elems = entry.shape.iter().map(|dim| *dim as u64).product();
            self.entries.push(Entry {
                encoding: entry.encoding,
                size_bytes: entry.size_bytes,
                len_elems,
                written: 0,
                tensors: Vec::new(),
            });
            let mut meaning = encoding::meaning(entry);
            for tensor in own {
                let size = tensor.size_bytes().ok_or(ErrorKind::FileTooLarge)?;
                tensors.push((self.entries.len() - 1, tensor, meaning.take(), size));
            }
        }
        // The widest elements come first, so that all of them are aligned.
        tensors.sort_by_key(|(_, tensor, ..)| std::cmp::Reverse(tensor.tag.bitsize()));
        let mut begin = 0;
        for (entry, tensor, meaning, size) in tensors {
            self.entries[entry].tensors.push(self.header.tensors.len());
            let end = begin + size;
            self.header.tensors.push(Placed { tensor, meaning, begin, end, crc: 0 });
            self.crcs.push(Hasher::new());
            begin = end;
        }
        for entry in &mut self.entries {
            // Codes are named before scales, wherever they lie.
            entry.tensors.sort_by_key(|tensor| self.header.tensors[*tensor].meaning.is_none());
        }
        let header = self.header.to_bytes(self.path).map_err(io::Error::other)?;
        self.data_begin = header.len() as u64;
        Ok(())
    }

    fn chunk(&mut self, entry: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let known = self.entries.get_mut(entry).ok_or(ErrorKind::InvalidInput)?;
        let behind = offset + bytes.len() as u64;
        if offset != known.written || behind > known.size_bytes {
            return Err(ErrorKind::InvalidInput.into());
        }
        known.written = behind;
        let (tensors, len_elems) = (known.tensors.clone(), known.len_elems);
        match (known.encoding, &tensors[..]) {
            (Encoding::Blocks { format, .. }, &[codes, scales]) => {
                let tile = format.blocks_size_bytes(1);
                if !offset.is_multiple_of(tile) {
                    return Err(ErrorKind::InvalidInput.into());
                }
                let first = offset / tile * fallline::StateFormat::TILE_ELEMS;
                let elems = bytes.len() as u64 / tile * fallline::StateFormat::TILE_ELEMS;
                let elems = elems.min(len_elems.saturating_sub(first));
                let rows = format.split_blocks(elems, bytes).map_err(io::Error::other)?;
                self.put(codes, format.codes_size_bytes(first), &rows.0)?;
                self.put(scales, format.scales_size_bytes(first), &rows.1)
            }
            (_, &[tensor]) => self.put(tensor, offset, bytes),
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }
}

impl Sink<'_> {
    /// Writes bytes of a tensor, which come in order.
    fn put(&mut self, tensor: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.crcs[tensor].update(bytes);
        let place = self.data_begin + self.header.tensors[tensor].begin + offset;
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(bytes)
    }

    /// The file with its header, which comes last: until then it is none.
    fn finish(mut self) -> Result<NamedTempFile> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.written < entry.size_bytes) {
            let Entry { written, size_bytes, .. } = entry;
            let short = format!("{written} bytes of {size_bytes} came of an entry");
            return Err(crate::error::io("write", self.path)(io::Error::other(short)));
        }
        for (placed, hasher) in self.header.tensors.iter_mut().zip(self.crcs) {
            placed.crc = hasher.finalize();
        }
        let header = self.header.to_bytes(self.path)?;
        let written = self.file.rewind().and_then(|()| self.file.write_all(&header));
        written.map_err(crate::error::io("write", self.path))?;
        Ok(self.file)
    }
}
