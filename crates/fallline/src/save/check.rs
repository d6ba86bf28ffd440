//! Whether what was saved is what an optimizer needs.

use std::collections::{HashMap, HashSet};

use super::{Encoding, LoadOptions, PARAM, SavedEntry};
use crate::{Error, Result};

/// Whether an entry has a default that stands for it where it was not saved: `train`, and as many steps as the tensor with
/// most has taken, none of them skipped. What was saved by an earlier release, or by an optimizer that measured nothing,
/// has none. Any entry that is added to those of the first release must have one, or loads nothing that was saved before.
fn has_default(entry: &SavedEntry) -> bool {
    entry.tensor.is_none() && ["mode", "reports"].contains(&entry.what.as_str())
}

/// For each entry that is needed, the number of the saved one; or all that does not fit.
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
    let has = |entries: &[SavedEntry]| -> HashSet<String> {
        entries.iter().filter_map(|entry| entry.tensor.clone()).collect()
    };
    let (needs_tensor, saved_tensor) = (has(needed), has(saved));
    // A tensor that one side does not know is told once, and not by each of its entries.
    let mut told = HashSet::new();
    let mut whole = |entry: &SavedEntry, others: &HashSet<String>| {
        let name = entry.tensor.as_ref().filter(|name| !others.contains(*name))?;
        let tensor = format!("tensor '{name}'");
        Some(told.insert(tensor.clone()).then_some(tensor))
    };
    let mut mismatches = Vec::new();
    let mut numbers = Vec::with_capacity(needed.len());
    for entry in needed {
        let found = known.remove(&(entry.tensor.as_deref(), entry.what.as_str()));
        // What is kept beside a parameter is made of its values.
        let derived = convert && ["master", "remainder"].contains(&entry.what.as_str());
        let missing_is_fine = derived || has_default(entry);
        if keep_params && entry.what == PARAM || missing_is_fine && found.is_none() {
            numbers.push(None);
            continue;
        }
        numbers.push(found);
        let Some(number) = found else {
            let what = whole(entry, &saved_tensor).unwrap_or_else(|| Some(entry.to_string()));
            mismatches.extend(what.map(|entry| Error::SavedMissing { entry }));
            continue;
        };
        let converts = entry.what == PARAM || derived || entry.what.starts_with("state/");
        let same_encoding = saved[number].encoding == entry.encoding || convert && converts;
        if !same_encoding || saved[number].shape != entry.shape {
            let describe = |entry: &SavedEntry| format!("{} {:?}", entry.encoding, entry.shape);
            mismatches.push(Error::SavedDiffers {
                entry: entry.to_string(),
                expected: describe(entry),
                found: describe(&saved[number]),
            });
        }
    }
    let beside = |what: &str| convert && ["master", "remainder"].contains(&what);
    let mut unexpected: Vec<usize> = known
        .into_iter()
        .filter(|((_, what), number)| !beside(what) && !has_default(&saved[*number]))
        .map(|(_, number)| number)
        .collect();
    unexpected.sort_unstable();
    for number in unexpected {
        let entry = &saved[number];
        let what = whole(entry, &needs_tensor).unwrap_or_else(|| Some(entry.to_string()));
        mismatches.extend(what.map(|entry| Error::SavedUnexpected { entry }));
    }
    match mismatches.len() {
        0 => Ok(numbers),
        1 => Err(mismatches.remove(0)),
        _ => Err(Error::SavedMismatches { mismatches }),
    }
}
