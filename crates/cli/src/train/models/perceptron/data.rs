//! The handwritten digits, and the order in which they are seen.

use anyhow::{Context, bail, ensure};

use crate::train::random::Random;

/// Numbers of an image: 8 × 8 pixels.
pub(super) const PIXELS: u32 = 64;
/// What an image can show: 0 to 9.
pub(super) const CLASSES: u32 = 10;
/// Images that are learned from; the others test what was learned.
pub(super) const TRAIN_LEN: u32 = 1437;

const BLACK: f32 = 16.0;

/// All images with their labels.
#[derive(Debug)]
pub(super) struct Digits {
    /// Row by row, `PIXELS` for each image, from 0 (white) to 1 (black).
    pub(super) pixels: Vec<f32>,
    pub(super) labels: Vec<u32>,
}

impl Digits {
    /// The data set that the binary carries.
    pub(super) fn load() -> anyhow::Result<Self> {
        Self::parse(include_str!("../../../../data/digits.csv"))
    }

    fn parse(csv: &str) -> anyhow::Result<Self> {
        let mut digits = Self { pixels: Vec::new(), labels: Vec::new() };
        for (line, row) in (1..).zip(csv.lines()) {
            digits.push(row).with_context(|| format!("digits.csv, line {line}"))?;
        }
        Ok(digits)
    }

    fn push(&mut self, row: &str) -> anyhow::Result<()> {
        let numbers: Vec<u8> = row.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let Some((&label, pixels)) = numbers.split_last() else { bail!("no columns") };
        ensure!(pixels.len() == PIXELS as usize, "{} pixels instead of {PIXELS}", pixels.len());
        ensure!(u32::from(label) < CLASSES, "label {label}");
        self.pixels.extend(pixels.iter().map(|&pixel| f32::from(pixel) / BLACK));
        self.labels.push(label.into());
        Ok(())
    }

    /// How many there are; every kernel counts in u32.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.labels.len()).unwrap_or(u32::MAX)
    }
}

/// A random permutation of `len` images: the first [`TRAIN_LEN`] are to train with.
pub(super) fn split(len: u32, random: &mut Random) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).collect();
    random.shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_load() {
        let digits = Digits::load().expect("the data set is well formed");
        assert_eq!(digits.len(), 1797);
        assert_eq!(digits.pixels.len(), 1797 * PIXELS as usize);
        assert!(digits.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        // The file's numbers are 0 to 16.
        assert!(digits.pixels.iter().all(|pixel| (pixel * 16.0).fract() == 0.0));
        assert!(digits.pixels.contains(&0.0) && digits.pixels.contains(&1.0));
        for label in 0..10 {
            let images = digits.labels.iter().filter(|found| **found == label).count();
            assert!((170..190).contains(&images), "{images} images of a {label}");
        }
    }

    #[test]
    fn broken_rows_are_refused() {
        assert!(Digits::parse("1,2,3").is_err());
        assert!(Digits::parse(&"1,".repeat(64)).is_err());
        assert!(Digits::parse(&("1,".repeat(64) + "10")).is_err());
        assert!(Digits::parse(&("1,".repeat(64) + "9")).is_ok());
    }

    #[test]
    fn split_is_a_permutation() {
        let mut order = split(1797, &mut Random::new(0));
        assert_ne!(order, split(1797, &mut Random::new(1)));
        assert_eq!(order, split(1797, &mut Random::new(0)));
        order.sort_unstable();
        assert_eq!(order, (0..1797).collect::<Vec<u32>>());
    }
}
