//! Conversions of numbers that cannot fail.

/// A number that an earlier check has shown to fit, and why it does.
#[track_caller]
pub(crate) fn fits<T>(value: impl TryInto<T>, why: &str) -> T {
    value.try_into().unwrap_or_else(|_| panic!("a number does not fit: {why}"))
}
