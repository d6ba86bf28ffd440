//! What the kernels read, and what they must find.

use fallline_reference::formats::dynamic;

use crate::{candidates::Direction, common};

/// Words of four elements of the data, which a kernel finds again and again.
pub(crate) const PERIOD: usize = 1 << 14;
pub(crate) const BLOCK: usize = 256;

/// Blocks of one book.
pub(crate) struct Data {
    pub(crate) is_unsigned: bool,
    pub(crate) values: Vec<f32>,
    pub(crate) absmaxes: Vec<f32>,
    /// Each value's code, and the neighbour's where the value lies in the middle.
    pub(crate) codes: Vec<(u8, Option<u8>)>,
}

impl Data {
    /// Magnitudes over nine decades, in blocks of magnitudes from 2^-40 to 2^40; some zeros.
    #[allow(clippy::cast_possible_truncation, reason = "random bits, as many as an f32 has")]
    pub(crate) fn new(is_unsigned: bool) -> Self {
        let mut rng = common::Rng(1);
        let (mut values, mut absmaxes, mut codes) = (Vec::new(), Vec::new(), Vec::new());
        let book = dynamic::book(is_unsigned);
        for block in 0..PERIOD * 4 / BLOCK {
            let scale = 2f32.powi((block % 81) as i32 - 40);
            let mut value = |index: usize| {
                let bits = rng.next_u64();
                let decades = (bits >> 40) as f32 / (1u64 << 24) as f32 * 9.0;
                let magnitude = if index % 64 == 1 { 0.0 } else { scale * 10f32.powf(-decades) };
                if bits & 1 == 1 && !is_unsigned { -magnitude } else { magnitude }
            };
            let block: Vec<f32> = (0..BLOCK).map(&mut value).collect();
            let absmax = block.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            codes.extend(block.iter().map(|value| dynamic::nearest(&book, *value, absmax, 2.0)));
            values.extend(block);
            absmaxes.push(absmax);
        }
        Self { is_unsigned, values, absmaxes, codes }
    }

    /// The borders between the book's magnitudes.
    fn borders(&self) -> Vec<f64> {
        let mut book = dynamic::book(self.is_unsigned);
        book.retain(|value| *value >= 0.0);
        book.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect()
    }

    #[allow(clippy::cast_possible_truncation, reason = "a table of f32")]
    pub(crate) fn table(&self, direction: Direction) -> Vec<f32> {
        let mut table = match direction {
            Direction::Encode => self.borders(),
            Direction::Decode => dynamic::book(self.is_unsigned),
        };
        table.resize(256, 2.0);
        table.into_iter().map(|value| value as f32).collect()
    }

    /// For each cell of `encode/cells.wgsl` the number below the one border in it.
    #[allow(clippy::cast_possible_truncation, reason = "at most 255 borders")]
    pub(crate) fn cells(&self) -> Vec<u32> {
        let borders = self.borders();
        let first = (127 - 22) << 7;
        let last = 127 << 7;
        let edge = |cell: u32| f64::from(f32::from_bits(cell << 16));
        let below = |cell| {
            let number = borders.partition_point(|border| *border < edge(cell) * (1.0 - 1e-6));
            let after = borders.get(number + 1);
            assert!(
                after.is_none_or(|after| *after > edge(cell + 1) * (1.0 + 1e-6)),
                "two borders"
            );
            number as u32
        };
        (first..=last).map(below).collect()
    }

    pub(crate) fn check_codes(&self, name: &str, found: &[u8]) {
        for (index, code) in found.iter().enumerate() {
            let at = index % self.codes.len();
            let (exact, neighbour) = self.codes[at];
            assert!(
                *code == exact || Some(*code) == neighbour,
                "{name}: {:e} of {:e} became code {code}, not {exact}",
                self.values[at],
                self.absmaxes[at / BLOCK],
            );
        }
    }

    pub(crate) fn check_values(&self, name: &str, found: &[f32]) {
        let book = dynamic::book(self.is_unsigned);
        for (index, value) in found.iter().enumerate() {
            let at = index % self.codes.len();
            let absmax = f64::from(self.absmaxes[at / BLOCK]);
            let exact = book[usize::from(self.codes[at].0)] * absmax;
            let error = (f64::from(*value) - exact).abs();
            assert!(error <= 4e-7 * exact.abs(), "{name}: {value:e} instead of {exact:e}");
        }
    }
}
