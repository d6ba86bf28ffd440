//! State in blocks of codes: whether each value becomes the nearest of its book, by comparing all of them in f64.

use anyhow::Result;
use fallline::{BlockSpec, Gpu, Quantizer, StateFormat, TensorId};
use fallline_reference::formats::{companded, dynamic, e4m3, nibble};

use super::{
    numbers::Rng,
    subject::{Finding, Subject, none_differs},
};

/// A format in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Book {
    pub(super) format: StateFormat,
    /// Elements that share a scale.
    pub(super) block: usize,
    /// How near to the middle between two codes either will do, in ULP of the quotient: WGSL lets this be wrong by 2.5,
    /// and a square root by more; int8 and int4 compare with borders instead.
    ulps: f64,
    /// The values that one may become in a block of a largest magnitude; the third says whether none is negative.
    pub(super) rounded: fn(f32, f32, bool, f64) -> Vec<f64>,
}

pub(super) const BOOKS: [Book; 4] = [
    Book { format: StateFormat::Int8, block: 256, ulps: 2.0, rounded: dynamic::rounded },
    Book { format: StateFormat::Int4, block: 128, ulps: 2.0, rounded: nibble::rounded },
    Book { format: StateFormat::Fp8, block: 256, ulps: 12.0, rounded: e4m3::rounded },
    Book { format: StateFormat::Companded, block: 32, ulps: 12.0, rounded: companded::rounded },
];

impl Book {
    /// That of a format, if it has one.
    pub(super) fn of(format: StateFormat) -> Option<Self> {
        BOOKS.into_iter().find(|book| book.format == format)
    }

    /// The values of a block of the largest magnitude 1, from 0 on.
    fn values(self, signed: bool) -> Vec<f64> {
        let mut values = match self.format {
            StateFormat::Int8 => dynamic::book(!signed),
            StateFormat::Int4 => nibble::map(!signed),
            StateFormat::Fp8 => e4m3::magnitudes().iter().map(|value| value / 448.0).collect(),
            // No book, but a curve.
            _ => (0..=254).map(|code| f64::from(code) / 254.0).collect(),
        };
        values.retain(|value| *value >= 0.0);
        values
    }

    /// Around every code and every middle, in blocks that begin with the largest magnitude.
    #[allow(clippy::cast_possible_truncation, reason = "values of f32")]
    fn hard(self, signed: bool, absmax: f32) -> Vec<f32> {
        let mut hard = Vec::new();
        for pair in self.values(signed).windows(2) {
            for at in [pair[0], (pair[0] + pair[1]) / 2.0, pair[1]] {
                let value = (at * f64::from(absmax)) as f32;
                hard.extend([value, value.next_up(), value.next_down().max(0.0)]);
            }
        }
        let mut rng = Rng(9);
        hard.extend((0..5000).map(|_| absmax * rng.normal(-20..0).abs()));
        let hard = hard.iter().map(|value| value.min(absmax));
        let turned = |(at, value): (usize, f32)| if signed && at % 2 == 1 { -value } else { value };
        let hard: Vec<f32> = hard.enumerate().map(turned).collect();
        hard.chunks(self.block - 1).flat_map(|rest| [&[absmax], rest].concat()).collect()
    }
}

/// Each value must become one that it may, to a millionth, which is a thousandth of the distance between two.
pub(super) fn nearest(subject: &Subject, book: Book) -> Result<Finding> {
    let mut differing = Vec::new();
    let mut len = 0;
    for signed in [true, false] {
        for absmax in [1.0, 0.37, 1e-12, 3e12] {
            let values = book.hard(signed, absmax);
            let found = round_trip(&subject.gpu, book.format, signed, &values)?;
            len += values.len();
            differing.extend(judge(book, signed, &values, &found));
        }
    }
    Ok(none_differs(("values", len), differing))
}

/// What values are after they were quantized.
fn round_trip(gpu: &Gpu, format: StateFormat, signed: bool, values: &[f32]) -> Result<Vec<f32>> {
    let spec = BlockSpec::new("values", values.len() as u64, format);
    let spec = if signed { spec } else { spec.unsigned() };
    let quantizer = Quantizer::arena(gpu, &[spec])?;
    let id = TensorId::new(0);
    quantizer.write_values(id, values)?;
    gpu.checked("a round trip", || {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        quantizer.encode_quantize(&mut encoder);
        quantizer.encode_dequantize(&mut encoder);
        gpu.queue().submit([encoder.finish()]);
    })?;
    Ok(quantizer.read_values(id)?)
}

/// Those that became something else.
fn judge(book: Book, signed: bool, values: &[f32], found: &[f32]) -> Vec<String> {
    let mut differing = Vec::new();
    for (block, found) in values.chunks(book.block).zip(found.chunks(book.block)) {
        let absmax = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for (value, found) in block.iter().zip(found) {
            let expected = (book.rounded)(*value, absmax, !signed, book.ulps);
            let is_near = |code: &f64| (f64::from(*found) - code).abs() <= 1e-6 * code.abs();
            // A device may take a subnormal number for zero.
            let is_flushed = value.is_subnormal() && *found == 0.0;
            if !is_flushed && !expected.iter().any(is_near) {
                let told = format!("{value:e} by {absmax:e} becomes {found:e}, not {expected:?}");
                differing.push(told);
            }
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_code_is_found_in_every_format() {
        for book in BOOKS {
            for signed in [true, false] {
                let values = book.hard(signed, 0.37);
                let nearest = |block: &[f32]| -> Vec<f32> {
                    let of = |value: &f32| (book.rounded)(*value, 0.37, !signed, 0.0)[0];
                    #[allow(clippy::cast_possible_truncation, reason = "values of f32")]
                    block.iter().map(|value| of(value) as f32).collect()
                };
                let mut found = nearest(&values);
                assert_eq!(judge(book, signed, &values, &found), [""; 0], "{book:?}");
                // Values of the book for others, half of which lie beside them.
                let at = found.iter().position(|value| *value > 0.1 && *value < 0.3).expect("one");
                let other = found.iter().find(|value| **value > 1.01 * found[at]).expect("more");
                found[at] = *other;
                assert_eq!(judge(book, signed, &values, &found).len(), 1, "{book:?}");
            }
        }
    }
}
