//! Whether limits and factors that are no hyperparameters of a rule lie in their ranges.

use crate::{Error, Result, rules::narrow};

/// Whether the value is finite and positive, also in the f32 that the GPU gets; a GPU may take a
/// subnormal number for zero.
pub(crate) fn positive(value: f64) -> bool {
    narrow(value).is_normal() && value > 0.0
}

/// Whether `what`, which must be as expected, is.
pub(crate) fn check(what: String, expected: &'static str, found: f64, ok: bool) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::Factor { what, expected, found }) }
}
