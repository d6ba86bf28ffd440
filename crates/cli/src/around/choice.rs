//! A number, or no: what a group of a config says of an option that it would inherit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value, or `false` in a config: off, whatever would be inherited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Choice<T> {
    Off,
    On(T),
}

impl<T> Choice<T> {
    /// The value, if it is on.
    pub(super) fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

/// Two numbers of one option with their defaults: off if one is, or none is said.
pub(super) fn both<A, B>(
    (first, default_first): (Option<Choice<A>>, A),
    (second, default_second): (Option<Choice<B>>, B),
) -> Option<(A, B)> {
    if first.is_none() && second.is_none() {
        return None;
    }
    let first = first.map_or(Some(default_first), Choice::on)?;
    Some((first, second.map_or(Some(default_second), Choice::on)?))
}

impl<T: Serialize> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value == toml::Value::Boolean(false) {
            return Ok(Self::Off);
        }
        T::deserialize(value)
            .map(Self::On)
            .map_err(|error| serde::de::Error::custom(error.to_string().trim_end()))
    }
}
