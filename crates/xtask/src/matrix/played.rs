//! What a player prints, read.

/// What became of all plans that one has played.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Played {
    pub(super) adapter: String,
    plans: Vec<String>,
    steps: usize,
    buffers: usize,
    words: usize,
    differences: Vec<String>,
}

impl Played {
    /// From its lines, of which `NAME: 6 steps, 12 buffers, 3456 words` ends a case, and any other that begins with a case's
    /// name tells of a difference. What has not ended has failed.
    pub(super) fn read<'a>(lines: impl IntoIterator<Item = &'a str>, cases: &[String]) -> Self {
        let mut played = Self::default();
        for line in lines {
            match line.split_once(": ") {
                Some(("adapter", adapter)) => {
                    played.adapter = adapter.trim_end_matches([',', ' ']).to_owned()
                }
                Some((name, told)) if cases.iter().any(|case| case == name) => match counts(told) {
                    Some([steps, buffers, words]) => {
                        played.plans.push(name.to_owned());
                        played.steps += steps;
                        played.buffers += buffers;
                        played.words += words;
                    }
                    None => played.differences.push(line.to_owned()),
                },
                _ => {}
            }
        }
        let missing = cases.iter().filter(|case| !played.plans.contains(case));
        played.differences.extend(missing.map(|case| format!("{case}: not played to its end")));
        played
    }

    pub(super) fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.words > 0
    }

    /// The end of its row: plans, steps, buffers, bytes, and the first difference.
    pub(super) fn cells(&self) -> [String; 5] {
        let result = match self.differences.as_slice() {
            [] if self.is_equal() => "equal".to_owned(),
            [] => "nothing was compared".to_owned(),
            [only] => only.clone(),
            [first, more @ ..] => format!("{first}; and {} more", more.len()),
        };
        let [plans, steps, buffers, bytes] =
            [self.plans.len(), self.steps, self.buffers, 4 * self.words].map(|n| n.to_string());
        [plans, steps, buffers, bytes, result]
    }
}

/// Of `6 steps, 12 buffers, 3456 words`.
fn counts(told: &str) -> Option<[usize; 3]> {
    let mut parts = told.trim().split(", ");
    let mut count = |unit: &str| {
        let (number, found) = parts.next()?.split_once(' ')?;
        if found == unit { number.parse().ok() } else { None }
    };
    Some([count("steps")?, count("buffers")?, count("words")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_what_is_missing_are_found() {
        let cases = ["plain".to_owned(), "sgd".to_owned()];
        let of = |lines: &[&str]| Played::read(lines.iter().copied(), &cases).cells().join("|");
        let [adapter, plain, sgd] = [
            "adapter: x: y",
            "plain: 6 steps, 3 buffers, 100 words",
            "sgd: 6 steps, 2 buffers, 10 words",
        ];
        assert_eq!(of(&[adapter, plain, "a warning: of the driver", sgd]), "2|12|5|440|equal");
        assert_eq!(of(&[plain]), "1|6|3|400|sgd: not played to its end");
        let differs = "sgd: buffer 3, state, differs from word 7 on";
        assert_eq!(
            of(&[plain, differs, differs, sgd]),
            format!("2|12|5|440|{differs}; and 1 more")
        );
        assert_eq!(Played::read([adapter], &cases).adapter, "x: y");
        assert!(!Played::read([], &[]).is_equal());
    }
}
