//! Twin of `shaders/formats/dynamic.wgsl`: the dynamic code books of eight bits, as tables, and the
//! nearest code by comparing all 256 in f64.

use std::sync::LazyLock;

/// The 256 values of a book, ascending; `create_dynamic_map` of bitsandbytes.
#[must_use]
pub fn book(unsigned: bool) -> Vec<f64> {
    let mut values = vec![0.0, 1.0];
    for decade in 0..7u32 {
        let parts = 1u32 << (decade + u32::from(unsigned));
        let top = 10f64.powi(decade as i32 - 6);
        for part in 0..parts {
            let (low, high) = (f64::from(part), f64::from(part + 1));
            let edge = |at: f64| 0.1 + 0.9 * at / f64::from(parts);
            let value = f64::from((top * (edge(low) + edge(high)) / 2.0) as f32);
            values.push(value);
            if !unsigned {
                values.push(-value);
            }
        }
    }
    values.sort_by(f64::total_cmp);
    values
}

/// The code nearest to `value / absmax` and, where another is as near up to `ulps` of f32, that one too.
#[must_use]
pub fn nearest(book: &[f64], value: f32, absmax: f32, ulps: f64) -> (u8, Option<u8>) {
    let quotient = f64::from(value) / f64::from(absmax);
    let above = book.partition_point(|code| *code < quotient).clamp(1, book.len() - 1);
    let distance = |code: usize| (book[code] - quotient).abs();
    // The larger magnitude first where two are equally near.
    let by = |a: &usize, b: &usize| {
        distance(*a).total_cmp(&distance(*b)).then(book[*b].abs().total_cmp(&book[*a].abs()))
    };
    let mut order = [above - 1, above];
    order.sort_by(by);
    let mut best = order[0];
    // A negative value never becomes 0, nor a positive one in the unsigned book.
    let is_unsigned = book[0] == 0.0;
    let never_zero = |code: usize| match book[code] {
        value if quotient < 0.0 && value >= 0.0 => code - 1,
        0.0 if quotient > 0.0 && is_unsigned => 1,
        _ => code,
    };
    best = never_zero(best);
    let middle = (book[order[0]] + book[order[1]]) / 2.0;
    let ulp = f64::from((quotient.abs() as f32).next_up()) - f64::from(quotient.abs() as f32);
    let close = (quotient - middle).abs() <= ulps * ulp;
    (best as u8, close.then_some(never_zero(order[1]) as u8))
}

/// The value that `value` may become in a block of this largest magnitude: the nearest, and in the
/// middle between two, up to `ulps` of f32, either.
#[must_use]
pub fn rounded(value: f32, absmax: f32, unsigned: bool, ulps: f64) -> Vec<f64> {
    static BOOKS: LazyLock<[Vec<f64>; 2]> = LazyLock::new(|| [book(false), book(true)]);
    let book = &BOOKS[usize::from(unsigned)];
    let (code, other) = nearest(book, value, absmax, ulps);
    let value = |code: u8| book[usize::from(code)] * f64::from(absmax);
    [Some(code), other].into_iter().flatten().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::{book, nearest};

    #[test]
    fn books_have_256_values_and_no_minus_one() {
        for unsigned in [false, true] {
            let book = book(unsigned);
            assert_eq!(book.len(), 256);
            assert_eq!(book[if unsigned { 0 } else { 127 }], 0.0);
            assert!(book.windows(2).all(|pair| pair[0] < pair[1]) && book[0] > -1.0);
        }
    }

    #[test]
    fn ties_go_to_the_larger_magnitude_and_negatives_stay_negative() {
        let signed = book(false);
        let middle = ((signed[200] + signed[201]) / 2.0) as f32;
        assert!(nearest(&signed, middle, 1.0, 2.0).1.is_some());
        assert_eq!(nearest(&signed, 1e-9, 1.0, 2.0), (127, None));
        assert_eq!(nearest(&signed, -1e-9, 1.0, 2.0), (126, None));
        assert_eq!(nearest(&signed, -1.0, 1.0, 2.0), (0, None));
        assert_eq!(nearest(&signed, 1.0, 1.0, 2.0), (255, None));
    }
}
