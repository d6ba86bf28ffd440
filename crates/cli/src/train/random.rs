//! A tiny generator, so that a seed means the same numbers on every machine and in every version.

/// SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `0..end`. The upper half of a product: its bias is below 2^-50 for the lengths
    /// that we shuffle.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let product = u128::from(self.next()) * end as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// A multiple of 2^-23 in [-1, 1).
    pub(crate) fn signed_unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// A multiple of 2^-24 in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (f64::from(self.signed_unit()) + 1.0) / 2.0
    }

    /// Nearly normal, of mean 0 and deviation 1: a sum of twelve numbers, which is exact everywhere, as no logarithm
    /// is.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| f64::from(self.signed_unit())).sum::<f64>() / 2.0
    }

    /// Fisher and Yates' shuffle.
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    /// The first numbers of the generator's reference implementation for seed 1234567.
    #[test]
    fn known_numbers() {
        let mut random = Random::new(1_234_567);
        let found: Vec<u64> = (0..3).map(|_| random.next()).collect();
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(found, expected);
    }

    #[test]
    fn signed_unit_fills_its_range() {
        let mut random = Random::new(0);
        let values: Vec<f32> = (0..10_000).map(|_| random.signed_unit()).collect();
        assert!(values.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!(values.iter().any(|value| *value > 0.99) && values.iter().any(|v| *v < -0.99));
    }

    #[test]
    fn normal_has_a_deviation_of_one() {
        let mut random = Random::new(0);
        let values: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / 10_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean}, {variance}");
        // As many beyond two deviations as there should be: 4.6 %.
        let far = values.iter().filter(|value| value.abs() > 2.0).count();
        assert!((400..520).contains(&far), "{far}");
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut values: Vec<u32> = (0..100).collect();
        Random::new(3).shuffle(&mut values);
        assert_ne!(values, (0..100).collect::<Vec<_>>());
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }
}
