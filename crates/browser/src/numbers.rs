//! Numbers to compute with, and how near others are.

use anyhow::ensure;
use fallline_reference::ulp;

/// Values of either sign and of magnitude 0.5 to 1, other ones for each seed.
pub(crate) fn values(len: usize, seed: u16) -> Vec<f32> {
    let value = |n: usize| {
        let fraction = (n as f32 * 0.618_034 + f32::from(seed) * 0.414_214).fract();
        if fraction < 0.5 { -0.5 - fraction } else { fraction }
    };
    (1..=len).map(value).collect()
}

/// Within so many units in the last place.
pub(crate) fn within(
    what: &str,
    found: &[f32],
    expected: &[f32],
    max_ulp: u32,
) -> anyhow::Result<()> {
    ensure!(found.len() == expected.len(), "{what}: {} values", found.len());
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        let distance = ulp::distance(*found, *expected);
        ensure!(distance <= max_ulp, "{what}[{n}]: {found:e} is {distance} ulp from {expected:e}");
    }
    Ok(())
}

/// Within torch's own tolerance for f32.
pub(crate) fn close(what: &str, found: &[f32], expected: &[f64]) -> anyhow::Result<()> {
    ensure!(found.len() == expected.len(), "{what}: {} values", found.len());
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let bound = 1e-5 + 1.3e-6 * expected.abs();
        ensure!(error <= bound, "{what}[{n}]: {found:e}, expected {expected:e}");
    }
    Ok(())
}

/// So many values that all are this one.
pub(crate) fn all(what: &str, found: &[f32], len: usize, value: f32) -> anyhow::Result<()> {
    within(what, found, &vec![value; len], 0)
}

/// The bits, for comparisons that must be exact.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
