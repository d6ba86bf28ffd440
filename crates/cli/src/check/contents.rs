//! What is checked: the table of contents.

use fallline::RULE_NAMES;

use super::{
    arithmetic, bandwidth,
    books::{self, BOOKS},
    conversions, memory, norms, places,
    replays::{self, RECORDED},
    rules, runs,
    subject::{Check, Effort},
    tensors, windows,
};

/// All checks, in the order in which they are run.
#[rustfmt::skip]
pub(super) fn checks(uses_up_memory: bool) -> Vec<Check> {
    let mut all = vec![
        Check::new("arithmetic/addition", "sums are rounded to nearest, ties to even", arithmetic::addition),
        Check::new("arithmetic/multiplication", "so are products", arithmetic::multiplication),
        Check::new("arithmetic/division", "a quotient is within 2.5 ULP", arithmetic::division),
        Check::new("arithmetic/sqrt", "a square root is within 4.5 ULP", arithmetic::square_root),
        Check::new("arithmetic/inverse_sqrt", "its reciprocal is within 2 ULP", arithmetic::inverse_square_root),
        Check::new("arithmetic/contraction", "a product and a sum are rounded once or twice", arithmetic::contraction),
        Check::new("arithmetic/subnormals", "subnormal numbers are kept or flushed to zero", arithmetic::subnormals),
        Check::new("arithmetic/not_finite", "infinities and NaN are seen on their bits", arithmetic::not_finite),
        Check::new("arithmetic/expm1", "bias corrections are exact to 2e-7", arithmetic::expm1),
        Check::new("arithmetic/random_bits", "random bits of stochastic rounding are the host's", arithmetic::random_bits),

        Check::new("conversions/f16_codes", "every code of f16 is decoded and encoded back", conversions::f16_codes),
        Check::new("conversions/bf16_codes", "every code of bf16 is decoded and encoded back", conversions::bf16_codes),
        Check::new("conversions/e4m3_codes", "every code of e4m3 is decoded and encoded back", conversions::e4m3_codes),
        Check::new("conversions/f16_rounding", "every tie of f16 goes to the even code", conversions::f16_rounding),
        Check::new("conversions/bf16_rounding", "every tie of bf16 goes to the even code", conversions::bf16_rounding),
        Check::new("conversions/e4m3_rounding", "every tie of e4m3 goes to the even code", conversions::e4m3_rounding),
        Check::new("conversions/f16_on_bits", "so it does by integers alone, which `Gpu::round_on_bits` takes", conversions::f16_on_bits),
        Check::new("conversions/e4m3_on_bits", "so it does by integers alone, which `Gpu::round_on_bits` takes", conversions::e4m3_on_bits),
        Check::new("conversions/stochastic", "stochastic rounding goes by its random bits", conversions::stochastic),
    ];
    all.extend(BOOKS.map(|book| Check::new(
        format!("books/{}", book.format.name()),
        "each value becomes the nearest of its code book",
        move |subject| books::nearest(subject, book),
    )));
    all.extend(RULE_NAMES.iter().map(|name| Check::new(
        format!("rules/{name}"),
        "a step in any format, with what may go around the rule, is the f64 oracle's",
        move |subject| rules::check(subject, name),
    )));
    all.extend([
        Check::new("norms/measured", "norms from 1e-30 to 1e30 are within 1e-6 of f64", norms::measured),
        Check::new("norms/clipped", "gradients are clipped by the factor of f64", norms::clipped),
        Check::new("norms/skipped", "a step with infinity or NaN is skipped to the bit", norms::skipped),

        Check::new("windows/beyond_a_binding", "a tensor larger than a binding steps as a small one", windows::beyond_a_binding),

        Check::new("tensors/1000", "a thousand tensors step as the oracle, in one dispatch", |subject| tensors::many(subject, 1000)),
        Check::new("tensors/1500", "so do more than a uniform buffer has records of", |subject| tensors::many(subject, 1500)),

        Check::new("places/moving", "gradients that move in every step give the same bits", places::moving),

        Check::new("runs/repeated", "the same input gives the same bits", runs::repeated),
        Check::new("runs/resumed", "a saved run goes on bit for bit", runs::resumed),
    ]);
    all.extend(RECORDED.iter().map(|recorded| Check::new(
        format!("replays/{}", recorded.name),
        "a recorded run gives PyTorch's numbers",
        move |subject| replays::replayed(subject, recorded),
    )));
    all.extend([
        Check::new("bandwidth/f32", "how near AdamW comes to the speed of its loads and stores", bandwidth::f32),
        Check::new("bandwidth/bf16_remainder", "the same with bf16 parameters and remainders", bandwidth::remainder),
        Check::new("bandwidth/int8", "the same with state in int8", bandwidth::int8),
    ]);
    if uses_up_memory {
        all.push(Check::new("memory/used_up", "without memory there is an error, and the device goes on", memory::used_up));
    }
    all
}

/// Whether a check is run again on a device with WebGPU's default limits, on which its kernels may depend.
pub(super) fn is_run_with_default_limits(check: &Check, effort: Effort) -> bool {
    match check.family() {
        "replays" => true,
        "rules" | "norms" | "windows" | "tensors" | "places" | "runs" => effort > Effort::Quick,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_of_families_and_differ() {
        let checks = checks(true);
        let names: HashSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names.len(), checks.len());
        for Check { name, proves, .. } in &checks {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let parts: Vec<&str> = name.split('/').collect();
            assert!(
                parts.len() == 2 && parts.iter().all(|part| part.chars().all(is_plain)),
                "{name}"
            );
            assert!(!proves.is_empty() && !proves.ends_with('.'), "{name}");
        }
        for family in ["replays", "rules", "norms", "windows", "tensors", "places", "runs"] {
            let of = |check: &&Check| check.family() == family;
            assert!(
                checks.iter().filter(of).all(|c| is_run_with_default_limits(c, Effort::Default))
            );
            assert!(checks.iter().any(|check| check.family() == family), "{family}");
        }
    }
}
