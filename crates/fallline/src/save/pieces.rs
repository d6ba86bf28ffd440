//! Pieces of GPU buffers that are saved and loaded, many in one copy.

use wgpu::{Buffer, BufferUsages};

use super::{CHUNK_BYTES, CHUNK_LEN, Encoding, SavedEntry};
use crate::{
    Error, Gpu, Optimizer, Result, StateFormat, TensorId,
    layout::{TILE_ELEMS, tiles_of},
    optimizer::SlotPlace,
    slot::{self, InTiles},
    transfer::fetch_mapped,
};

/// A piece of a buffer, and which entries its bytes are of.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) buffer: Buffer,
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
    parts: Vec<Part>,
}

/// The bytes of an entry in a piece.
#[derive(Clone, Copy, Debug)]
struct Part {
    entry: usize,
    /// Where they begin in the entry, and how many they are.
    first: u64,
    len: u64,
    /// Where they lie, if the piece is the tiles of all slots; else they are all of it.
    tiles: Option<Tiles>,
}

/// The tiles of a slot in a piece.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    lie: InTiles,
    format: StateFormat,
    /// How many elements of the last one exist.
    last_elems: usize,
}

impl Piece {
    /// The bytes of each entry: where in it they begin, and these.
    pub(super) fn split(&self, bytes: &[u8]) -> Vec<(usize, u64, Vec<u8>)> {
        let part = |part: &Part| {
            let gather = |tiles: Tiles| tiles.lie.gather(bytes);
            let mut of_entry = part.tiles.map_or_else(|| bytes.to_vec(), gather);
            of_entry.truncate(usize::try_from(part.len).unwrap_or(usize::MAX));
            if let Some(Tiles { lie, format, last_elems }) = part.tiles
                && let Some(last) = of_entry.chunks_mut(lie.bytes).next_back()
            {
                format.clear_padding(last, last_elems);
            }
            (part.entry, part.first, of_entry)
        };
        self.parts.iter().map(part).filter(|(.., bytes)| !bytes.is_empty()).collect()
    }

    /// Its entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.entry)
    }

    /// The piece's bytes of those of its entries, which `read` gives.
    pub(super) fn join(
        &self,
        mut read: impl FnMut(usize, u64, &mut [u8]) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size_bytes).unwrap_or(usize::MAX)];
        for part in &self.parts {
            let mut of_entry = vec![0; usize::try_from(part.len).unwrap_or(usize::MAX)];
            read(part.entry, part.first, &mut of_entry)?;
            match part.tiles {
                None => bytes.copy_from_slice(&of_entry),
                Some(tiles) => tiles.lie.scatter(&of_entry, &mut bytes),
            }
        }
        Ok(bytes)
    }
}

/// Pieces that are copied together.
pub(super) fn batches(pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    let mut rest = pieces;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let is_within = |piece: &&Piece| {
            bytes += piece.size_bytes.next_multiple_of(4);
            bytes <= CHUNK_BYTES
        };
        let count = rest.iter().take_while(is_within).count().max(1).min(rest.len());
        let (batch, behind) = rest.split_at(count);
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}

/// The bytes of some pieces: one copy, one map.
pub(super) async fn fetch(gpu: &Gpu, pieces: &[Piece]) -> Result<Vec<Vec<u8>>> {
    let ranges: Vec<(&Buffer, u64, u64)> = pieces
        .iter()
        .map(|piece| (&piece.buffer, piece.offset, piece.size_bytes.next_multiple_of(4)))
        .collect();
    let bytes = fetch_mapped(gpu, &ranges).await?;
    let mut rest = bytes.as_slice();
    let mut of_pieces = Vec::with_capacity(pieces.len());
    for (piece, (.., copied)) in pieces.iter().zip(ranges) {
        let number = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (own, behind) = rest.split_at(number(copied));
        of_pieces.push(own[..number(piece.size_bytes)].to_vec());
        rest = behind;
    }
    Ok(of_pieces)
}

impl Optimizer {
    /// Where the large entries of a table lie: parameters, for each tensor that has one in this other place, what is kept
    /// beside them, state.
    pub(super) fn pieces(
        &self,
        table: &[SavedEntry],
        elsewhere: &[Option<(Buffer, u64)>],
    ) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for (number, entry) in table.iter().enumerate() {
            let Some(&index) = entry.tensor.as_ref().and_then(|name| self.ids.get(name)) else {
                continue;
            };
            let (buffer, offset) = match entry.what.as_str() {
                "param" => match elsewhere.get(index) {
                    Some(Some((buffer, offset))) => (buffer.clone(), *offset),
                    _ => {
                        let slice = self.param(TensorId::new(index))?;
                        (slice.buffer().clone(), slice.offset())
                    }
                },
                "master" | "remainder" => match self.master(TensorId::new(index)) {
                    Some((buffer, offset)) => (buffer.clone(), offset),
                    None => continue,
                },
                what => match self.flat_slot(index, what) {
                    Some((buffer, offset)) => (buffer.clone(), offset),
                    None => continue,
                },
            };
            for first in (0..entry.size_bytes).step_by(CHUNK_LEN) {
                let len = (entry.size_bytes - first).min(CHUNK_BYTES);
                let part = Part { entry: number, first, len, tiles: None };
                let (buffer, offset) = (buffer.clone(), offset + first);
                pieces.push(Piece { buffer, offset, size_bytes: len, parts: vec![part] });
            }
        }
        for (index, _) in self.infos.iter().enumerate().filter(|(_, info)| !info.gone) {
            pieces.extend(self.state_pieces(index, table)?);
        }
        Ok(pieces)
    }

    /// Where a slot of a tensor lies, if it is not in tiles.
    fn flat_slot(&self, index: usize, what: &str) -> Option<(&Buffer, u64)> {
        let name = what.strip_prefix("state/")?;
        let slots = &self.infos[index].slots;
        let number = slots.iter().position(|slot| slot.name == name)?;
        match self.slot_place(index, number)? {
            SlotPlace::Flat { buffer, offset } => Some((buffer, offset)),
            SlotPlace::Tiles(_) => None,
        }
    }

    /// The pieces of a tensor's state: all slots of some tiles each.
    fn state_pieces(&self, index: usize, table: &[SavedEntry]) -> Result<Vec<Piece>> {
        let info = &self.infos[index];
        let place = &self.layout.places[index];
        let slots = slot::tiled(&info.slots);
        let Some((buffer, first_byte)) = &self.memory[place.segment].state else {
            return Ok(Vec::new());
        };
        let mut parts = Vec::new();
        for (number, slot) in slots.iter().enumerate() {
            let what = format!("state/{}", slot.name);
            let is_it = |entry: &SavedEntry| {
                entry.tensor.as_deref() == Some(&info.spec.name) && entry.what == what
            };
            let entry = table.iter().position(is_it).ok_or_else(|| Error::SavedMissing {
                entry: format!("{what} of tensor '{}'", info.spec.name),
            })?;
            let lie = InTiles::new(&slots, number, info.state);
            parts.push((entry, lie, slot.format(info.state), table[entry].encoding));
        }
        let stride = slot::tile_bytes(&slots, info.state);
        let (tiles, most) = (tiles_of(info.len_elems), CHUNK_BYTES / stride);
        let mut pieces = Vec::new();
        for first in (0..tiles).step_by(usize::try_from(most).unwrap_or(usize::MAX)) {
            let end = tiles.min(first + most);
            let part =
                |&(entry, lie, format, encoding): &(usize, InTiles, StateFormat, Encoding)| {
                    let begin = first * format.tile_bytes();
                    let elems = info.len_elems.min(end * TILE_ELEMS);
                    let behind = encoding.size_bytes(elems).unwrap_or(begin);
                    let last_elems = usize::try_from(elems - (end - 1) * TILE_ELEMS).unwrap_or(0);
                    let tiles = Some(Tiles { lie, format, last_elems });
                    Part { entry, first: begin, len: behind - begin, tiles }
                };
            pieces.push(Piece {
                buffer: buffer.clone(),
                offset: first_byte + (u64::from(place.first_tile) + first) * stride,
                size_bytes: (end - first) * stride,
                parts: parts.iter().map(part).collect(),
            });
        }
        Ok(pieces)
    }

    /// Whether what is loaded into the parameters can be written there.
    pub(super) fn check_writable(&self) -> Result<()> {
        for (index, info) in self.infos.iter().enumerate().filter(|(_, info)| !info.gone) {
            let slice = self.param(TensorId::new(index))?;
            let mut usage = BufferUsages::COPY_DST;
            if !(info.len_elems * info.spec.dtype.size_bytes()).is_multiple_of(4) {
                usage |= BufferUsages::COPY_SRC;
            }
            let (name, role) = (&info.spec.name, crate::Role::Param);
            crate::transfer::check_usage(name, role, slice.buffer(), usage)?;
        }
        Ok(())
    }
}
