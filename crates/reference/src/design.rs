//! All pairs: which combinations to test where all would be too many. In few rows any two values of two factors occur
//! together.

use std::collections::BTreeSet;

/// A value of a factor, both by number.
pub type Value = (usize, usize);

/// Values of two factors, that of the lower number first.
pub type Pair = (Value, Value);

/// All pairs of values of factors that have so many.
pub fn pairs(sizes: &[usize]) -> impl Iterator<Item = Pair> {
    let values = |factor: usize| (0..sizes[factor]).map(move |value| (factor, value));
    (0..sizes.len()).flat_map(move |first| {
        let second = move |a: Value| (first + 1..sizes.len()).flat_map(values).map(move |b| (a, b));
        values(first).flat_map(second)
    })
}

/// A value for each factor, in rows in which every pair occurs that may, and no other. Each row begins with a pair that
/// no row has yet, and takes, factor by factor, the value that makes most such pairs with those that it has (the greedy
/// choice of AETG: Cohen, Dalal, Fredman and Patton 1997). The same for the same factors.
///
/// # Panics
/// If a pair that may not occur leaves one of its values no other partner.
#[must_use]
pub fn all_pairs(sizes: &[usize], may_be: impl Fn(Pair) -> bool) -> Vec<Vec<usize>> {
    let ordered = |a: Value, b: Value| if a < b { (a, b) } else { (b, a) };
    let mut missing: BTreeSet<Pair> = pairs(sizes).filter(|pair| may_be(*pair)).collect();
    let mut rows: Vec<Vec<usize>> = Vec::new();
    while let Some(&(first, second)) = missing.first() {
        let mut row = vec![first, second];
        for (factor, &size) in sizes.iter().enumerate() {
            if [first.0, second.0].contains(&factor) {
                continue;
            }
            let with = |value: Value| row.iter().map(move |known| ordered(*known, value));
            // From another value on in each row, so that no value is the favourite where several do.
            let values = (0..size).map(|at| (factor, (at + rows.len()) % size));
            let fitting = values.rev().filter(|value| with(*value).all(&may_be));
            let best =
                fitting.max_by_key(|value| with(*value).filter(|p| missing.contains(p)).count());
            row.push(best.expect("a value that goes with the others"));
        }
        row.sort_unstable();
        for (at, a) in row.iter().enumerate() {
            for b in &row[at + 1..] {
                missing.remove(&(*a, *b));
            }
        }
        rows.push(row.into_iter().map(|(_, value)| value).collect());
    }
    rows
}

/// Whether every pair occurs that may, and no other.
#[must_use]
pub fn covers(sizes: &[usize], rows: &[Vec<usize>], may_be: impl Fn(Pair) -> bool) -> bool {
    let occurs = |(a, b): Pair| rows.iter().any(|row| row[a.0] == a.1 && row[b.0] == b.1);
    pairs(sizes).all(|pair| occurs(pair) == may_be(pair))
}

#[cfg(test)]
mod tests {
    use super::{Pair, all_pairs, covers};

    #[test]
    fn every_pair_occurs_in_few_rows() {
        for (sizes, most) in [
            (&[2, 2, 2][..], 5),
            (&[3, 3, 3, 3], 13),
            (&[5, 4, 3, 2, 2], 24),
            (&[2; 12], 12),
            (&[7], 0),
            (&[4, 6], 24),
        ] {
            let rows = all_pairs(sizes, |_| true);
            assert!(covers(sizes, &rows, |_| true), "{sizes:?}");
            assert!(rows.len() <= most, "{sizes:?}: {} rows", rows.len());
            assert_eq!(rows, all_pairs(sizes, |_| true));
        }
        // A row less, and a pair is missing; a value that goes with one other alone.
        let (sizes, may_be) = ([3, 3, 2], |((_, a), (b, c)): Pair| b != 1 || a != 0 || c == 2);
        let rows = all_pairs(&sizes, may_be);
        assert!(covers(&sizes, &rows, may_be));
        assert!(!covers(&sizes, &rows, |_| true));
        assert!(!covers(&sizes, &rows[1..], may_be));
    }
}
