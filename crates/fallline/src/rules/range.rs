//! Ranges of hyperparameters, for [`Rule::check`](crate::Rule::check).

use super::narrow;

/// A hyperparameter that is not in its range.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfRange {
    /// torch's name of it.
    pub name: &'static str,
    /// The range.
    pub expected: &'static str,
    /// The value.
    pub found: f64,
}

/// Whether a condition holds, and the value is in the range of f32: the GPU would get an infinity.
///
/// # Errors
/// If not.
pub fn check(
    ok: bool,
    name: &'static str,
    expected: &'static str,
    found: f64,
) -> Result<(), OutOfRange> {
    if ok && narrow(found).is_finite() { Ok(()) } else { Err(OutOfRange { name, expected, found }) }
}

/// Whether a value is finite and not negative.
///
/// # Errors
/// If not.
pub fn non_negative(name: &'static str, found: f64) -> Result<(), OutOfRange> {
    check(found >= 0.0, name, "finite and >= 0", found)
}

/// Whether a value is finite and above 0.
///
/// # Errors
/// If not.
pub fn positive(name: &'static str, found: f64) -> Result<(), OutOfRange> {
    check(found > 0.0 && narrow(found) > 0.0, name, "finite and > 0", found)
}

/// Whether a value is a part of a whole: in [0, 1].
///
/// # Errors
/// If not.
pub fn unit(name: &'static str, found: f64) -> Result<(), OutOfRange> {
    check((0.0..=1.0).contains(&found), name, "in [0, 1]", found)
}

/// Whether a value can weigh an average: in [0, 1).
///
/// # Errors
/// If not.
pub fn beta(name: &'static str, found: f64) -> Result<(), OutOfRange> {
    check((0.0..1.0).contains(&found), name, "in [0, 1)", found)
}

/// Whether β1 and β2 can weigh averages.
///
/// # Errors
/// For the first that cannot.
pub fn betas((beta1, beta2): (f64, f64)) -> Result<(), OutOfRange> {
    beta("betas[0]", beta1)?;
    beta("betas[1]", beta2)
}
