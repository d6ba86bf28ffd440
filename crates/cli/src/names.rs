//! Options whose values are names.

use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Parses an option as one of these values, of which each has a name.
pub(crate) fn one_of<T>(
    values: &[T],
    name_of: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + FromStr<Err = fallline::Error> + Send + Sync + 'static,
{
    let names = values.iter().map(|value| name_of(*value));
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}
