//! Files that are whole or not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{Result, error};

/// Ends the names of files that are not whole yet: `.<name>.<random>.part`, beside their place.
const PART: &str = ".part";

/// The folder of a file.
fn folder(place: &Path) -> &Path {
    match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file beside its place, which is removed if it never takes that. What a save of it that was killed has left is
/// removed now.
pub(crate) fn begin(place: &Path) -> Result<NamedTempFile> {
    let own = place.file_name().unwrap_or_default();
    for leftover in leftovers(folder(place), |name| own == name)? {
        remove(&leftover)?;
    }
    // With the mode that the user's mask gives: tempfile's own would be for nobody else.
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    tempfile::Builder::new()
        .prefix(&part_prefix(place))
        .suffix(PART)
        .make_in(folder(place), create)
        .map_err(error::io("write", place))
}

/// Puts a file into its place. What it holds is on the disk before its name is, and its name before this returns.
pub(crate) fn finish(file: NamedTempFile, place: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(error::io("write", place))?;
    let renamed = file.persist(place);
    renamed.map_err(|refused| error::io("write", place)(refused.error))?;
    sync_folder(folder(place)).map_err(error::io("write", folder(place)))
}

/// Makes a folder with those that it lies in, where it is not there.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(error::io("make", folder))
}

/// Only where a folder can be opened is there something to be synced.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn part_prefix(place: &Path) -> String {
    format!(".{}.", place.file_name().unwrap_or_default().to_string_lossy())
}

/// What saves that were killed left in a folder: of files whose names are ours.
pub(crate) fn leftovers(folder: &Path, is_ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let is_part = |name: &str| {
        let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(PART));
        name.and_then(|name| name.rsplit_once('.')).is_some_and(|(name, _)| is_ours(name))
    };
    Ok(names(folder)?.into_iter().filter(|name| is_part(name)).map(|n| folder.join(n)).collect())
}

/// The names in a folder, which may not be there.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(error::io("list", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(error::io("list", folder))?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(error::io("remove", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_there_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.safetensors");
        fs::write(&place, "old").unwrap();
        let mut file = begin(&place).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"old");
        assert_eq!(leftovers(folder.path(), |name| name == "a.safetensors").unwrap().len(), 1);
        assert_eq!(leftovers(folder.path(), |name| name == "b.safetensors").unwrap().len(), 0);
        finish(file, &place).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");

        // One that is given up leaves nothing.
        begin(&place).unwrap().write_all(b"half").unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["a.safetensors"]);

        // One that is killed leaves what the next removes.
        begin(&place).unwrap().keep().unwrap();
        fs::write(folder.path().join(".a.safetensors.notes"), "").unwrap();
        assert_eq!(names(folder.path()).unwrap().len(), 3);
        drop(begin(&place).unwrap());
        fs::remove_file(folder.path().join(".a.safetensors.notes")).unwrap();
        assert_eq!(names(folder.path()).unwrap(), ["a.safetensors"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_mode_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("other"), "").unwrap();
        let place = folder.path().join("ours");
        finish(begin(&place).unwrap(), &place).unwrap();
        assert_eq!(mode("ours"), mode("other"));
    }
}
