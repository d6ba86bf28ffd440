//! Whether what was saved is what an optimizer needs.

use std::collections::HashMap;

use super::{Encoding, LoadOptions, PARAM, SavedEntry};
use crate::{Error, Result};

/// For each entry that is needed, the number of the saved one.
pub(super) fn matched(
    needed: &[SavedEntry],
    saved: &[SavedEntry],
    LoadOptions { convert, keep_params }: LoadOptions,
) -> Result<Vec<Option<usize>>> {
    let mut known: HashMap<(Option<&str>, &str), usize> = HashMap::new();
    for (number, entry) in saved.iter().enumerate() {
        let elems = entry.shape.iter().try_fold(1u64, |len, dim| len.checked_mul(*dim as u64));
        let expected = elems.and_then(|elems| entry.encoding.size_bytes(elems));
        if entry.encoding != Encoding::Text && expected != Some(entry.size_bytes) {
            return Err(Error::SavedDiffers {
                entry: entry.to_string(),
                expected: format!("{} bytes", expected.unwrap_or(u64::MAX)),
                found: format!("{} bytes", entry.size_bytes),
            });
        }
        if known.insert((entry.tensor.as_deref(), &entry.what), number).is_some() {
            return Err(Error::SavedUnexpected { entry: format!("a second {entry}") });
        }
    }
    let mut numbers = Vec::with_capacity(needed.len());
    for entry in needed {
        let found = known.remove(&(entry.tensor.as_deref(), entry.what.as_str()));
        if keep_params && entry.what == PARAM {
            numbers.push(None);
            continue;
        }
        // What is kept beside a parameter is made of its values.
        let derived = convert && ["master", "remainder"].contains(&entry.what.as_str());
        let Some(number) = found else {
            if derived {
                numbers.push(None);
                continue;
            }
            return Err(Error::SavedMissing { entry: entry.to_string() });
        };
        let converts = entry.what == PARAM || derived || entry.what.starts_with("state/");
        let same_encoding = saved[number].encoding == entry.encoding || convert && converts;
        if !same_encoding || saved[number].shape != entry.shape {
            let describe = |entry: &SavedEntry| format!("{} {:?}", entry.encoding, entry.shape);
            return Err(Error::SavedDiffers {
                entry: entry.to_string(),
                expected: describe(entry),
                found: describe(&saved[number]),
            });
        }
        numbers.push(Some(number));
    }
    let beside = |what: &str| convert && ["master", "remainder"].contains(&what);
    let mut unexpected: Vec<usize> = known
        .into_iter()
        .filter(|((_, what), _)| !beside(what))
        .map(|(_, number)| number)
        .collect();
    unexpected.sort_unstable();
    match unexpected.first() {
        Some(&number) => Err(Error::SavedUnexpected { entry: saved[number].to_string() }),
        None => Ok(numbers),
    }
}
