//! The dynamic code books of eight bits, as `shaders/formats/dynamic.wgsl` has them.

use std::sync::LazyLock;

use super::{Codec, nearest};
use crate::fits::fits;

pub(super) const SIGNED: Codec = Codec {
    scale: |absmax| absmax,
    code: |value, absmax| code(Book::Signed, value, absmax),
    value: |code, absmax| Book::Signed.map()[usize::from(code)] * absmax,
    ends: (127, 255),
};

pub(super) const UNSIGNED: Codec = Codec {
    code: |value, absmax| code(Book::Unsigned, value, absmax),
    value: |code, absmax| Book::Unsigned.map()[usize::from(code)] * absmax,
    ends: (0, 255),
    ..SIGNED
};

const CODES: usize = 256;

/// Which of the two books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Book {
    Signed,
    Unsigned,
}

/// The dynamic map of n decades, `create_dynamic_map` of bitsandbytes and torchao: in decade i, from
/// 10^(i - decades) to ten times that, the middles of 2^i (unsigned: 2^(i + 1)) equal parts, of both
/// signs in the signed map; and 0 and 1.
pub(super) fn create_dynamic_map<const CODES: usize>(signed: bool, decades: i32) -> [f32; CODES] {
    let mut values = vec![0.0, 1.0];
    for i in 0..decades {
        let parts = 1 << if signed { i } else { i + 1 };
        for part in 0..parts {
            let middle = 0.1 + 0.9 * (f64::from(part) + 0.5) / f64::from(parts);
            let value = 10f64.powi(i + 1 - decades) * middle;
            values.push(value);
            if signed {
                values.push(-value);
            }
        }
    }
    debug_assert_eq!(values.len(), CODES, "a map has a value for each code");
    values.sort_by(f64::total_cmp);
    let mut map = [0.0; CODES];
    for (entry, value) in map.iter_mut().zip(values) {
        *entry = crate::rules::narrow(value);
    }
    map
}

impl Book {
    /// The value of each code, by 1.
    fn map(self) -> &'static [f32; CODES] {
        static SIGNED: LazyLock<[f32; CODES]> = LazyLock::new(|| create_dynamic_map(true, 7));
        static UNSIGNED: LazyLock<[f32; CODES]> = LazyLock::new(|| create_dynamic_map(false, 7));
        match self {
            Book::Signed => &SIGNED,
            Book::Unsigned => &UNSIGNED,
        }
    }
}

/// The code nearest to `value / absmax`, ties to the larger magnitude; a negative value never becomes
/// 0, nor in the unsigned book a positive one.
fn code(book: Book, value: f32, absmax: f32) -> u8 {
    let map = book.map();
    let quotient = f64::from(value) / f64::from(absmax);
    let nearest = nearest(map, quotient);
    let is_zero = map[nearest] == 0.0;
    let code = match book {
        Book::Signed if quotient < 0.0 && is_zero => nearest - 1,
        Book::Unsigned if quotient > 0.0 && is_zero => 1,
        _ => nearest,
    };
    fits(code, "a code book has 256 codes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let ulps = found.to_bits().abs_diff(expected.to_bits());
            assert!(ulps <= 1, "{found} {expected}");
        }
    }

    /// Values of bitsandbytes' maps (which torchao's equal), up to the last bit: theirs come from f32.
    #[test]
    fn books_are_the_published_ones() {
        let signed = Book::Signed.map();
        near(&signed[..3], &[-0.992_968_75, -0.978_906_2, -0.964_843_75]);
        near(&signed[125..131], &[-3.25e-6, -5.5e-7, 0.0, 5.5e-7, 3.25e-6, 7.75e-6]);
        near(&signed[253..], &[0.978_906_2, 0.992_968_75, 1.0]);
        let unsigned = Book::Unsigned.map();
        near(&unsigned[..4], &[0.0, 3.25e-7, 7.75e-7, 2.125e-6]);
        near(&unsigned[253..], &[0.989_453_1, 0.996_484_4, 1.0]);
        for map in [signed, unsigned] {
            assert!(map.is_sorted_by(|a, b| a < b), "256 different codes");
        }
    }

    /// The published construction, word by word: `total_bits` of which `max_exponent_bits` count decades;
    /// boundaries from 0.1 to 1, their means by powers of ten.
    fn published(signed: bool, max_exponent_bits: i32, total_bits: i32) -> Vec<f32> {
        let non_sign_bits = total_bits - 1;
        let mut data = vec![0.0, 1.0];
        for i in 0..max_exponent_bits {
            let bits = i + non_sign_bits - max_exponent_bits + i32::from(!signed);
            let fraction_items = 2i32.pow(bits.cast_unsigned()) + 1;
            let step = 0.9 / f64::from(fraction_items - 1);
            let boundary = |k: i32| 0.1 + step * f64::from(k);
            for k in 0..fraction_items - 1 {
                let mean = f64::midpoint(boundary(k), boundary(k + 1));
                let value = 10f64.powi(i - (max_exponent_bits - 1)) * mean;
                data.extend(if signed { vec![value, -value] } else { vec![value] });
            }
        }
        data.sort_by(f64::total_cmp);
        data.into_iter().map(crate::rules::narrow).collect()
    }

    #[test]
    fn maps_are_constructed_as_published() {
        near(Book::Signed.map(), &published(true, 7, 8));
        near(Book::Unsigned.map(), &published(false, 7, 8));
        near(&create_dynamic_map::<16>(true, 3), &published(true, 3, 4));
    }

    #[test]
    fn what_is_not_zero_stays_so() {
        let codes = |book, values: [f32; 3]| values.map(|value| code(book, value, 1.0));
        assert_eq!(codes(Book::Signed, [1.0, -1e-20, 1e-20]), [255, 126, 127]);
        assert_eq!(codes(Book::Unsigned, [1.0, 0.0, 1e-20]), [255, 0, 1]);
    }
}
