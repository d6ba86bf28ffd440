//! The files that commands write.
//!
//! A file is written whole: in the same folder under a name that nobody else has, and from there put
//! into its place, so that no half of it is ever left there and nothing besides it. It keeps the mode of
//! the file that it replaces. Links are followed, and stay. Into what is no regular file (/dev/null, a
//! pipe) and into what cannot be replaced (a mount point, a file with several names or of another
//! owner, one in a folder that takes no file) the result is written instead. The one exception is what grows
//! while a command runs, as a log, which whoever looks in has so far.

mod growing;
mod system;

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use tempfile::NamedTempFile;

pub(crate) use self::growing::Growing;
use crate::{
    exit,
    print::{self, unless_closed},
};

/// The outputs of one command. All are opened before its work, the results of which they shall hold.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// What the command reads.
    inputs: Vec<Identity>,
    /// What it writes.
    opened: Vec<Identity>,
}

impl Outputs {
    /// Those of a command that reads these files, none of which may be written.
    pub(crate) fn beside(inputs: &[&Path]) -> Self {
        let inputs = inputs.iter().filter_map(|input| Identity::of_existing(input)).collect();
        Self { inputs, opened: Vec::new() }
    }

    /// Opens an output. Leaves nothing behind, and what is there as it is.
    pub(crate) fn open(&mut self, path: &Path) -> anyhow::Result<Output> {
        let cannot_write = || format!("cannot write {}", path.display());
        let way = Way::find(path).with_context(cannot_write)?;
        let name = path.display();
        let identity = Identity::of_existing(path);
        let is_input = identity.as_ref().is_some_and(|identity| self.inputs.contains(identity));
        let twice = |what| Err(exit::usage(anyhow!("{name} is given for {what}")));
        if is_input {
            return twice("input and output");
        }
        if let Way::Place(place) = &way {
            let missing = || Identity::of_missing(place);
            let identity = identity.map_or_else(missing, Ok).with_context(cannot_write)?;
            // Others, /dev/null or stdout, may hold several.
            if self.opened.contains(&identity) {
                return twice("two outputs");
            }
            self.opened.push(identity);
            probe(place).with_context(cannot_write)?;
        }
        if matches!(way, Way::Stream(Stream::Stdout)) {
            print::to_stderr();
        }
        Ok(Output { path: path.to_owned(), way })
    }

    /// Opens an output that may not be asked for.
    pub(crate) fn open_any(&mut self, path: Option<&Path>) -> anyhow::Result<Option<Output>> {
        path.map(|path| self.open(path)).transpose()
    }
}

/// A file to be written, opened by [`Outputs::open`].
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    way: Way,
}

impl Output {
    /// As it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it whole. That nobody reads a pipe is no error.
    pub(crate) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = match &self.way {
            Way::Stream(stream) => unless_closed(stream.write(bytes)),
            Way::Into(path) => {
                let opened = OpenOptions::new().append(true).open(path);
                unless_closed(opened.and_then(|mut file| file.write_all(bytes)))
            }
            Way::Place(place) => put(place, bytes),
        };
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Opens it to be written line by line, as it is.
    pub(crate) fn grow(&self) -> anyhow::Result<Growing> {
        let mut options = OpenOptions::new();
        let opened = match &self.way {
            Way::Stream(stream) => Ok(Growing::Stream(*stream)),
            Way::Into(path) => options.append(true).open(path).map(Growing::Special),
            Way::Place(place) => {
                options.read(true).write(true).create(true).truncate(false);
                options.open(place).map(Growing::File)
            }
        };
        opened.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes a result as indented JSON.
    pub(crate) fn write_json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.write(text.as_bytes())
    }
}

/// How an output is written.
#[derive(Debug)]
enum Way {
    /// Where this process writes already: to open it anew would be to write over that.
    Stream(Stream),
    /// Opened and written into.
    Into(PathBuf),
    /// A file in this place, behind any links, there already or not.
    Place(PathBuf),
}

impl Way {
    fn find(path: &Path) -> anyhow::Result<Self> {
        let found = existing(path)?;
        if let Some(found) = &found {
            ensure!(!found.is_dir(), "it is a directory");
            if let Some(stream) = system::stream(found) {
                return Ok(Way::Stream(stream));
            }
            // Not opened yet: to open a named pipe would be to wait for who reads it.
            if !found.is_file() {
                return Ok(Way::Into(path.to_owned()));
            }
        }
        let Some(place) = follow(path)? else { return Ok(Way::Into(path.to_owned())) };
        let name = place.file_name().map(|name| name.as_encoded_bytes());
        let is_name = |name| place.as_os_str().as_encoded_bytes().ends_with(name);
        ensure!(name.is_some_and(is_name), "it is no name of a file");
        Ok(Way::Place(place))
    }
}

/// Which file is meant, by whatever name.
#[derive(Debug, PartialEq)]
enum Identity {
    /// Its device and number, where the system has such.
    Inode(u64, u64),
    Path(PathBuf),
}

impl Identity {
    /// That of a regular file.
    fn of_existing(path: &Path) -> Option<Self> {
        let found = path.metadata().ok().filter(Metadata::is_file)?;
        match system::inode(&found) {
            Some((device, number)) => Some(Self::Inode(device, number)),
            None => path.canonicalize().ok().map(Self::Path),
        }
    }

    /// That of a file to come.
    fn of_missing(place: &Path) -> io::Result<Self> {
        Ok(Self::Path(folder(place).canonicalize()?.join(place.file_name().unwrap_or_default())))
    }
}

/// The streams that messages go to as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Stream::Stderr => io::stderr().write_all(bytes),
        }
    }
}

/// More links than any system follows.
const MANY_LINKS: usize = 64;

/// What a path names behind any links, also where nothing is yet. `None` if that is a descriptor of
/// this process, which is no name of a file.
fn follow(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut place = path.to_owned();
    for _ in 0..MANY_LINKS {
        let Ok(target) = fs::read_link(&place) else { return Ok(Some(place)) };
        // What such a link reads is a description: "pipe:[7]", "/gone (deleted)".
        if folder(&place).canonicalize().is_ok_and(|folder| folder.starts_with("/proc")) {
            return Ok(None);
        }
        // Relative to the folder of the link.
        place = folder(&place).join(target);
    }
    Err(io::Error::other("too many links lead to it"))
}

/// The folder of a file.
fn folder(place: &Path) -> &Path {
    match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What is there, links followed.
fn existing(path: &Path) -> io::Result<Option<Metadata>> {
    match path.metadata() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fails if the file could not be written.
fn probe(place: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => stand_in(place, None).map(drop),
        opened => opened.map(drop),
    }
}

/// Puts a whole file into its place.
fn put(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = existing(place)?;
    let mut file = match (stand_in(place, old.as_ref()), &old) {
        (Ok(file), None) => file,
        (Ok(file), Some(old)) if system::may_replace(&file.as_file().metadata()?, old) => file,
        (Err(error), old) if old.is_none() || is_full(&error) => return Err(error),
        // The new one is removed, if there is one.
        _ => return overwrite(place, bytes),
    };
    file.as_file_mut().write_all(bytes)?;
    let is_alike = old.as_ref().is_none_or(|old| {
        let permissions = old.permissions();
        file.as_file().set_permissions(permissions).is_ok()
    });
    // Before it takes the old one's place: some disks are full only now.
    file.as_file().sync_all()?;
    if !is_alike {
        drop(file);
        return overwrite(place, bytes);
    }
    match file.persist(place) {
        Err(refused) if old.is_some() && !is_full(&refused.error) => {
            drop(refused);
            overwrite(place, bytes)
        }
        persisted => persisted.map(drop).map_err(|refused| refused.error),
    }
}

/// A new file beside the place, which is removed if it does not take it.
fn stand_in(place: &Path, old: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let make = |path: &Path| system::create(path, old.is_some());
    tempfile::Builder::new().prefix(".fallline-").make_in(folder(place), make)
}

fn overwrite(place: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(place)?.write_all(bytes)
}

/// Whether there would be no room to write anything into the place either.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
