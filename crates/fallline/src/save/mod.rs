//! Everything that a run needs to continue, as bytes.

mod check;
mod entries;
mod load;
mod pieces;

use std::io;

pub use load::LoadOptions;

use crate::{Dtype, Error, Optimizer, Precision, Result, StateFormat};

/// One thing that is saved: some bytes, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedEntry {
    /// The tensor that it belongs to; `None`: the optimizer.
    pub tensor: Option<String>,
    /// What it is: `param`, `master`, `remainder`, `state/exp_avg`, `step`, `number`, `rule` of a tensor,
    /// `seed`, `mode` (`train` or `evaluate`), `reports`, `loss_scale` of the optimizer.
    pub what: String,
    /// What its bytes mean, little-endian.
    pub encoding: Encoding,
    /// How many elements it has, by dimension.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub size_bytes: u64,
}

impl std::fmt::Display for SavedEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.tensor {
            Some(tensor) => write!(f, "{} of tensor '{tensor}'", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What the bytes of a [`SavedEntry`] mean. They do not depend on where the optimizer kept them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// Numbers: parameters, master copies, state in f32 and bf16.
    Numbers(Dtype),
    /// 16 or 8 bits that a bf16 parameter lacks of an f32: see
    /// [`Precision::Remainder`], [`Precision::Remainder8`].
    Remainder {
        /// 2 or 1.
        elem_bytes: u8,
    },
    /// Spans of 256 elements, their codes and behind them their scales: as
    /// [`Quantizer`](crate::Quantizer) describes them.
    Blocks {
        /// The format.
        format: StateFormat,
        /// Whether values may be negative.
        signed: bool,
    },
    /// Whole numbers of 32 bits.
    Counts,
    /// Text in UTF-8.
    Text,
}

impl Encoding {
    /// The encoding of a state slot.
    fn of_state(format: StateFormat, signed: bool) -> Self {
        match format {
            StateFormat::F32 => Self::Numbers(Dtype::F32),
            StateFormat::Bf16 => Self::Numbers(Dtype::Bf16),
            format => Self::Blocks { format, signed },
        }
    }

    /// That of what is kept beside a parameter.
    fn of_precision(precision: Precision) -> Option<(&'static str, Self)> {
        match precision {
            Precision::Nearest | Precision::Stochastic => None,
            Precision::Master => Some(("master", Self::Numbers(Dtype::F32))),
            Precision::Remainder => Some(("remainder", Self::Remainder { elem_bytes: 2 })),
            Precision::Remainder8 => Some(("remainder", Self::Remainder { elem_bytes: 1 })),
        }
    }

    /// Bytes of n elements; `None` for text, which may have any number.
    fn size_bytes(self, len_elems: u64) -> Option<u64> {
        match self {
            Self::Numbers(dtype) => len_elems.checked_mul(dtype.size_bytes()),
            Self::Remainder { elem_bytes } => len_elems.checked_mul(elem_bytes.into()),
            Self::Blocks { format, .. } => Some(format.blocks_size_bytes(len_elems)),
            Self::Counts => len_elems.checked_mul(4),
            Self::Text => None,
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Numbers(dtype) => write!(f, "{dtype}"),
            Self::Remainder { elem_bytes } => write!(f, "remainders of {} bits", 8 * elem_bytes),
            Self::Blocks { format, signed: true } => write!(f, "{format}"),
            Self::Blocks { format, signed: false } => write!(f, "{format}, never negative"),
            Self::Counts => f.write_str("u32"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// Takes what an optimizer saves: the table of all entries first, and then their bytes.
pub trait SaveSink {
    /// Whether parameters are saved. Whoever keeps them elsewhere need not have them twice:
    /// [`LoadOptions::keep_params`] loads what is left.
    fn wants_params(&self) -> bool {
        true
    }

    /// All entries; called once, before any chunk.
    ///
    /// # Errors
    /// Whatever the sink's own are; saving ends with them.
    fn table(&mut self, entries: &[SavedEntry]) -> io::Result<()>;

    /// Bytes of an entry, from byte `offset` of it on: at most 16 MiB, of blocks whole tiles. Chunks of an entry come in
    /// order; those of different entries may alternate.
    ///
    /// # Errors
    /// Whatever the sink's own are; saving ends with them.
    fn chunk(&mut self, entry: usize, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Gives what an optimizer saved.
pub trait LoadSource {
    /// All entries.
    ///
    /// # Errors
    /// Whatever the source's own are.
    fn table(&mut self) -> io::Result<Vec<SavedEntry>>;

    /// Fills `bytes` with those of an entry from byte `offset` of it on: at most 16 MiB.
    ///
    /// # Errors
    /// Whatever the source's own are.
    fn read(&mut self, entry: usize, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// What an optimizer saved, in memory.
///
/// ```no_run
/// use fallline::{Optimizer, Saved};
///
/// /// Makes `second` continue where `first` is.
/// fn resume(first: &Optimizer, second: &mut Optimizer) -> fallline::Result<()> {
///     let mut saved = Saved::default();
///     first.save(&mut saved)?;
///     second.load(&mut saved)
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The table.
    pub entries: Vec<SavedEntry>,
    /// The bytes of each entry.
    pub bytes: Vec<Vec<u8>>,
}

impl SaveSink for Saved {
    fn table(&mut self, entries: &[SavedEntry]) -> io::Result<()> {
        self.entries = entries.to_vec();
        self.bytes = vec![Vec::new(); entries.len()];
        Ok(())
    }

    fn chunk(&mut self, entry: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let kept = self.bytes.get_mut(entry).filter(|kept| kept.len() as u64 == offset);
        kept.ok_or(io::ErrorKind::InvalidInput)?.extend_from_slice(bytes);
        Ok(())
    }
}

impl LoadSource for Saved {
    fn table(&mut self) -> io::Result<Vec<SavedEntry>> {
        Ok(self.entries.clone())
    }

    fn read(&mut self, entry: usize, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let kept = self.bytes.get(entry).zip(usize::try_from(offset).ok());
        let kept = kept.and_then(|(kept, offset)| kept.get(offset..)?.get(..bytes.len()));
        bytes.copy_from_slice(kept.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What a parameter itself is called among the entries.
const PARAM: &str = "param";

/// Bytes of a chunk at most.
const CHUNK_LEN: usize = 16 << 20;
const CHUNK_BYTES: u64 = CHUNK_LEN as u64;

impl Optimizer {
    /// Saves everything that a run needs to continue bit for bit: parameters, codes and scales of state,
    /// master copies, remainders, step counters, the loss scale with what is pending of it, counts of
    /// steps, the seed and the tensors' numbers in stochastic rounding. Not gradients, nor what is
    /// [frozen](Self::freeze).
    ///
    /// Parameters are saved as they are trained, in the mode to evaluate too; beside them the mode is. (What they are to be
    /// evaluated at follows from these and the state; [`fetch_eval`](Self::fetch_eval) reads it in either mode.)
    ///
    /// Entries do not depend on where tensors lie: what an arena saved, an optimizer over borrowed
    /// buffers loads, and the other way round. Chunks have at most 16 MiB, which is also what this keeps in
    /// memory. What was submitted is in it; steps that are recorded and not yet submitted are not.
    ///
    /// # Errors
    /// [`Error::Sink`]; before anything reaches the sink [`Error::BufferUsage`] for a borrowed parameter without COPY_SRC,
    /// and [`Error::NotSubmitted`] if the encoder of [`encode_train`](Self::encode_train) is not;
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub async fn save_to<S: SaveSink + ?Sized>(&self, sink: &mut S) -> Result<()> {
        let (mode, kept) = self.fetch_mode().await?;
        let mut table = self.saved_entries(mode)?;
        if !sink.wants_params() {
            table.retain(|entry| entry.what != PARAM);
        }
        let failed = |entry: String| move |source: io::Error| Error::Sink { entry, source };
        sink.table(&table).map_err(failed("the table".into()))?;
        let name = |entry: usize| table[entry].to_string();
        for (entry, bytes) in self.small_entries(mode, &table).await? {
            sink.chunk(entry, 0, &bytes).map_err(failed(name(entry)))?;
        }
        for batch in pieces::batches(&self.pieces(&table, &kept)?) {
            let bytes = pieces::fetch(self.gpu(), batch).await?;
            for (piece, bytes) in batch.iter().zip(bytes) {
                for (entry, offset, bytes) in piece.split(&bytes) {
                    sink.chunk(entry, offset, &bytes).map_err(failed(name(entry)))?;
                }
            }
        }
        Ok(())
    }
}
