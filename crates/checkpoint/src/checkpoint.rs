//! A checkpoint that there is.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Mutex,
};

use fallline::{LoadOptions, Optimizer, SavedEntry};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result, SavedGroup, encoding, error,
    header::{Header, LEN_BYTES, MAX_LEN, Placed},
    names,
    source::{Source, Stored, read_at},
    write,
};

/// A checkpoint, opened: its header is read and found to be whole, its data are not read yet.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Mutex<File>,
    header: Header,
    /// Where the data begin.
    data_begin: u64,
    /// What the optimizer saved, and where it lies.
    entries: Vec<SavedEntry>,
    stored: Vec<Stored>,
}

impl Checkpoint {
    /// Saves an optimizer into a file of this name, in the place of any that is there: see
    /// [`Checkpoints::save_from`](crate::Checkpoints::save_from) for what happens and what may go wrong.
    ///
    /// # Errors
    /// [`Error::Extra`], [`Error::Save`], [`Error::Io`].
    pub async fn save_from(
        path: impl AsRef<Path>,
        optimizer: &Optimizer,
        step: u64,
        extra: &impl Serialize,
    ) -> Result<()> {
        write::write(path.as_ref(), optimizer, step, extra, true).await
    }

    /// Opens a checkpoint, and looks whether its header is whole and its file as long as that says.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotSafetensors`], [`Error::NotCheckpoint`], [`Error::Version`],
    /// [`Error::FileLength`], [`Error::Tensor`]; [`Error::Damaged`] for the header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let mut file = File::open(&path).map_err(error::io("open", &path))?;
        let found = file.metadata().map_err(error::io("open", &path))?.len();
        let bytes = read_header(&mut file, found, &path)?;
        let (header, data_len) = Header::parse(&bytes, &path)?;
        let data_begin = bytes.len() as u64;
        let expected = data_begin.saturating_add(data_len);
        if found != expected {
            return Err(Error::FileLength { path, expected, found });
        }
        let (entries, stored) = entries(&header.tensors, &path)?;
        Ok(Self { path, file: file.into(), header, data_begin, entries, stored })
    }

    /// Reads the whole file, and compares all checksums.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] with the name of the first tensor that is not as it was written.
    pub fn verify(&self) -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        for Placed { tensor, begin, end, crc: expected, .. } in &self.header.tensors {
            let mut hasher = crc32fast::Hasher::new();
            for begin in (*begin..*end).step_by(buffer.len()) {
                let len = usize::try_from(end - begin).unwrap_or(usize::MAX).min(buffer.len());
                let bytes = &mut buffer[..len];
                read_at(&self.file, self.data_begin + begin, bytes)
                    .map_err(error::io("read", &self.path))?;
                hasher.update(bytes);
            }
            let (found, expected) = (hasher.finalize(), *expected);
            if found != expected {
                let (path, what) = (self.path.clone(), format!("tensor '{}'", tensor.name));
                return Err(Error::Damaged { path, what, expected, found });
            }
        }
        Ok(())
    }

    /// Makes an optimizer with the same tensors, rules and formats continue where the one that was saved was.
    /// [`Optimizer::load_from`] says what may differ. Nothing is written to the GPU before the whole file is found to be
    /// as it was written, and the optimizer to fit.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`]; [`Error::Load`], whose source names what is missing, unexpected or of another
    /// shape, format or rule.
    pub async fn load_into(&self, optimizer: &mut Optimizer, options: LoadOptions) -> Result<()> {
        self.verify()?;
        let loaded = optimizer.load_from(&mut self.source(), options).await;
        loaded.map_err(|source| Error::Load { path: self.path.clone(), source: source.into() })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The step that the caller saved it at.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.header.step
    }

    /// What the caller saved besides.
    ///
    /// # Errors
    /// [`Error::Extra`] if that was something else.
    pub fn extra<T: DeserializeOwned>(&self) -> Result<T> {
        let (path, direction) = (self.path.clone(), "cannot be read from");
        serde_json::from_str(&self.header.extra).map_err(|source| Error::Extra {
            path,
            direction,
            source,
        })
    }

    /// The groups of the optimizer that was saved.
    #[must_use]
    pub fn groups(&self) -> &[SavedGroup] {
        &self.header.groups
    }

    /// What the optimizer saved.
    #[must_use]
    pub fn entries(&self) -> &[SavedEntry] {
        &self.entries
    }

    /// The bytes of an entry, as the engine saved them. They are not compared with their checksum, which
    /// [`verify`](Self::verify) does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(&self, entry: &SavedEntry) -> Result<Vec<u8>> {
        let number = self.entries.iter().position(|known| known == entry);
        let stored = number.map(|number| (number, usize::try_from(entry.size_bytes)));
        let Some((number, Ok(size))) = stored else {
            return Err(error::io("read", &self.path)(ErrorKind::NotFound.into()));
        };
        let mut bytes = vec![0; size];
        let read = fallline::LoadSource::read(&mut self.source(), number, 0, &mut bytes);
        read.map_err(error::io("read", &self.path))?;
        Ok(bytes)
    }

    fn source(&self) -> Source<'_> {
        Source {
            file: &self.file,
            data_begin: self.data_begin,
            entries: &self.entries,
            stored: &self.stored,
        }
    }
}

/// The bytes before the data.
fn read_header(file: &mut File, file_len: u64, path: &Path) -> Result<Vec<u8>> {
    let failed = || error::io("read", path);
    let foreign = |reason: String| Error::NotSafetensors { path: path.to_owned(), reason };
    let mut len_bytes = [0; LEN_BYTES];
    match file.read_exact(&mut len_bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(foreign(format!("it has {file_len} bytes")));
        }
        read => read.map_err(failed())?,
    }
    let len = u64::from_le_bytes(len_bytes);
    if len > MAX_LEN {
        return Err(foreign(format!("its header would have {len} bytes")));
    }
    let whole = LEN_BYTES as u64 + len;
    if whole > file_len {
        let (path, expected, found) = (path.to_owned(), whole, file_len);
        return Err(Error::FileLength { path, expected, found });
    }
    let mut bytes = vec![0; usize::try_from(whole).unwrap_or(usize::MAX)];
    bytes[..LEN_BYTES].copy_from_slice(&len_bytes);
    file.read_exact(&mut bytes[LEN_BYTES..]).map_err(failed())?;
    Ok(bytes)
}

/// The entries that the tensors of a file are.
fn entries(tensors: &[Placed], path: &Path) -> Result<(Vec<SavedEntry>, Vec<Stored>)> {
    let wrong = |tensor: &str, reason: String| Error::Tensor {
        path: path.to_owned(),
        tensor: tensor.to_owned(),
        reason,
    };
    let (scales, others): (Vec<&Placed>, Vec<&Placed>) =
        tensors.iter().partition(|placed| names::is_scales(&placed.tensor.name));
    let mut scales: std::collections::HashMap<&str, &Placed> =
        scales.into_iter().map(|placed| (placed.tensor.name.as_str(), placed)).collect();
    let (mut entries, mut all) = (Vec::new(), Vec::new());
    for placed in others {
        let name = &placed.tensor.name;
        let described = encoding::entry(&placed.tensor, placed.meaning.clone());
        let is = || format!("is {} {:?}, as none is", placed.tensor.tag, placed.tensor.shape);
        let entry = described.ok_or_else(|| wrong(name, is()))?;
        let expected = encoding::tensors(&entry).unwrap_or_default();
        let mut stored = Stored { begin: placed.begin, scales_begin: None };
        for (number, tensor) in expected.iter().enumerate() {
            let found = if number == 0 { Some(placed) } else { scales.remove(&*tensor.name) };
            let found = found.ok_or_else(|| wrong(&tensor.name, "is missing".into()))?;
            if found.tensor != *tensor {
                let (must, is) = (tensor, &found.tensor);
                let shapes = format!(
                    "must be {} {:?}, found {} {:?}",
                    must.tag, must.shape, is.tag, is.shape
                );
                return Err(wrong(&tensor.name, shapes));
            }
            if number == 1 {
                stored.scales_begin = Some(found.begin);
            }
        }
        entries.push(entry);
        all.push(stored);
    }
    match scales.keys().min() {
        Some(name) => Err(wrong(name, "has scales of no codes".into())),
        None => Ok((entries, all)),
    }
}
