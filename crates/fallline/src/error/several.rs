//! Several errors in one line.

use super::Error;

/// As many are told; a message of thousands would be read by nobody.
const MOST: usize = 20;

/// Errors one behind the other.
pub(super) fn list(errors: &[Error]) -> String {
    let mut words: Vec<String> = errors.iter().take(MOST).map(Error::to_string).collect();
    if errors.len() > MOST {
        words.push(format!("and {} more", errors.len() - MOST));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let missing = |number: usize| Error::SavedMissing { entry: format!("tensor '{number}'") };
        let errors = |count: usize| (0..count).map(missing).collect::<Vec<_>>();
        assert_eq!(list(&errors(2)), "tensor '0' was not saved; tensor '1' was not saved");
        let long = list(&errors(23));
        assert!(long.ends_with("tensor '19' was not saved; and 3 more"), "{long}");
    }
}
