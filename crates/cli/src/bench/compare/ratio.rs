//! By how much two series of rounds differ, and by how much they would by chance.

use crate::{
    timing::{median, quantile},
    train::random::Random,
};

/// Fewer rounds say nothing of their spread.
pub(super) const FEWEST_ROUNDS: usize = 5;

/// How often the rounds of both are drawn anew.
const RESAMPLES: usize = 1000;

/// The part of the resamples that the interval holds.
pub(super) const HELD: f64 = 0.95;

/// The medians of two series, and their ratio.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    pub(super) old: f64,
    pub(super) new: f64,
    /// New by old.
    pub(super) ratio: f64,
    /// [`HELD`] of the ratios of resampled medians; none where there are too few rounds.
    pub(super) interval: Option<(f64, f64)>,
}

/// Whether a ratio differs from 1 by more than its spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Less,
    Within,
    More,
    TooFewRounds,
    /// A clock told no time in some round.
    Untimed,
}

impl Ratio {
    /// `None` if a value is missing, infinite or 0 in any round: there is no ratio then.
    pub(super) fn of(old: &[Option<f64>], new: &[Option<f64>]) -> Option<Self> {
        let measured = |values: &[Option<f64>]| -> Option<Vec<f64>> {
            let is_time = |value: &f64| value.is_finite() && *value > 0.0;
            values.iter().map(|value| value.filter(is_time)).collect()
        };
        let (old_values, new_values) = (measured(old)?, measured(new)?);
        if old_values.is_empty() || new_values.is_empty() {
            return None;
        }
        let (old, new) = (median(&old_values), median(&new_values));
        let enough = old_values.len().min(new_values.len()) >= FEWEST_ROUNDS;
        let interval = enough.then(|| interval(&old_values, &new_values));
        Some(Self { old, new, ratio: new / old, interval })
    }
}

impl Verdict {
    pub(super) fn of(ratio: Option<Ratio>) -> Self {
        match ratio {
            None => Self::Untimed,
            Some(Ratio { interval: None, .. }) => Self::TooFewRounds,
            Some(Ratio { interval: Some((_, high)), .. }) if high < 1.0 => Self::Less,
            Some(Ratio { interval: Some((low, _)), .. }) if low > 1.0 => Self::More,
            Some(_) => Self::Within,
        }
    }
}

/// Efron's bootstrap (1979), always with the same draws.
fn interval(old: &[f64], new: &[f64]) -> (f64, f64) {
    let mut random = Random::new(0);
    let mut drawn = |values: &[f64]| {
        let draw = |_| values[random.below(values.len())];
        median(&(0..values.len()).map(draw).collect::<Vec<f64>>())
    };
    let ratios: Vec<f64> = (0..RESAMPLES).map(|_| drawn(new) / drawn(old)).collect();
    let outside = (1.0 - HELD) / 2.0;
    (quantile(&ratios, outside), quantile(&ratios, 1.0 - outside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(old: &[f64], new: &[f64]) -> Option<Ratio> {
        let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        Ratio::of(&some(old), &some(new))
    }

    /// Rounds around 1 with a spread of some percent.
    fn rounds(len: usize, scale: f64) -> Vec<f64> {
        let mut random = Random::new(len as u64);
        (0..len).map(|_| scale * (1.0 + 0.03 * random.normal())).collect()
    }

    #[test]
    fn a_difference_is_held_against_the_spread() {
        for (scale, verdict) in [
            (1.0, Verdict::Within),
            (1.005, Verdict::Within),
            (1.2, Verdict::More),
            (0.8, Verdict::Less),
        ] {
            let found = ratio(&rounds(20, 7.0), &rounds(21, 7.0 * scale)).expect("all are timed");
            let (low, high) = found.interval.expect("rounds enough");
            assert!(low < scale && scale < high && high - low < 0.2, "{scale}: {found:?}");
            assert_eq!(Verdict::of(Some(found)), verdict, "{scale}: {found:?}");
        }
    }

    /// Of two series of the same distribution few differ, of those 3 % apart, which is a deviation, most do.
    #[test]
    fn the_interval_holds_what_it_says() {
        let found = |shift: f64| {
            let differs = |seed: u64| {
                let mut random = Random::new(seed);
                let mut draw = |scale: f64| -> Vec<f64> {
                    (0..20).map(|_| scale * (1.0 + 0.03 * random.normal())).collect()
                };
                let (old, new) = (draw(1.0), draw(1.0 + shift));
                Verdict::of(ratio(&old, &new)) != Verdict::Within
            };
            (0..200).filter(|seed| differs(*seed)).count()
        };
        assert!((1..=20).contains(&found(0.0)), "{} of 200", found(0.0));
        assert!(found(0.03) > 120, "{} of 200", found(0.03));
    }

    #[test]
    fn what_has_no_ratio_gets_none() {
        let five = [Some(1.0); 5];
        for bad in [None, Some(0.0), Some(f64::INFINITY), Some(f64::NAN)] {
            let values = [Some(1.0), Some(1.0), bad, Some(1.0), Some(1.0)];
            assert!(Ratio::of(&values, &five).is_none(), "{bad:?}");
            assert!(Ratio::of(&five, &values).is_none(), "{bad:?}");
        }
        assert!(Ratio::of(&[], &five).is_none() && Ratio::of(&five, &[]).is_none());
        assert_eq!(Verdict::of(None), Verdict::Untimed);
    }

    #[test]
    fn few_rounds_have_a_ratio_and_no_interval() {
        let few = ratio(&[1.0; 4], &[2.0; 50]).expect("all are timed");
        assert!(few.ratio == 2.0 && few.interval.is_none(), "{few:?}");
        assert_eq!(Verdict::of(Some(few)), Verdict::TooFewRounds);
        assert_eq!(Verdict::of(ratio(&[1.0; 5], &[2.0; 5])), Verdict::More);
    }
}
