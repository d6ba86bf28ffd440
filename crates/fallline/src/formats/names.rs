//! Formats by the names that config files and command lines have for them.

use std::{
    fmt::{Display, Formatter},
    str::FromStr,
};

use super::{Dtype, Precision, StateFormat};
use crate::{Error, Result};

/// These words as alternatives: "a, b or c".
pub(crate) fn either(words: impl IntoIterator<Item = impl Display>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string()).collect();
    match words.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        words => words.concat(),
    }
}

/// The one of these that has the name.
fn find<T: Copy>(
    what: &'static str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    name: &str,
) -> Result<T> {
    let known = all.iter().copied().find(|format| name_of(*format) == name);
    known.ok_or_else(|| Error::UnknownFormat {
        what,
        expected: all.iter().map(|format| name_of(*format)).collect(),
        found: name.to_owned(),
    })
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        find("a number format", Self::ALL, Self::name, name)
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        find("a precision", Self::ALL, Self::name, name)
    }
}

impl FromStr for StateFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        find("a state format", Self::ALL, Self::name, name)
    }
}

impl Display for Dtype {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Display for Precision {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Display for StateFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(feature = "serde")]
mod by_name {
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Dtype, Precision, StateFormat};
    use crate::Error;

    fn named<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err = Error>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }

    impl<'de> Deserialize<'de> for Dtype {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            named(deserializer)
        }
    }

    impl<'de> Deserialize<'de> for Precision {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            named(deserializer)
        }
    }

    impl<'de> Deserialize<'de> for StateFormat {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            named(deserializer)
        }
    }

    impl Serialize for Dtype {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.name())
        }
    }

    impl Serialize for Precision {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.name())
        }
    }

    impl Serialize for StateFormat {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::{Serialize, de::DeserializeOwned};

    use super::*;

    fn check<T>(all: &[T])
    where
        T: Copy + PartialEq + std::fmt::Debug + Display + FromStr<Err = Error>,
        T: Serialize + DeserializeOwned,
    {
        for format in all {
            let name = format.to_string();
            assert_eq!(name.parse::<T>().unwrap(), *format);
            assert_eq!(format!("{format:?}").to_lowercase(), name);
            let json = serde_json::to_value(format).unwrap();
            assert_eq!(json, serde_json::Value::from(name));
            assert_eq!(serde_json::from_value::<T>(json).unwrap(), *format);
        }
    }

    #[test]
    fn formats_have_their_names_everywhere() {
        check(Dtype::ALL);
        check(Precision::ALL);
        check(StateFormat::ALL);
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_there_are() {
        let unknown = "int9".parse::<StateFormat>().unwrap_err().to_string();
        let expected = "a state format must be \"f32\", \"bf16\", \"int8\", \"int4\", \"fp8\" or \
                        \"companded\", found \"int9\"";
        assert_eq!(unknown, expected);
        assert!("F32".parse::<Dtype>().is_err() && "".parse::<Precision>().is_err());
        let error = serde_json::from_str::<Dtype>("\"f64\"").unwrap_err().to_string();
        let expected = "a number format must be \"f32\", \"f16\" or \"bf16\", found \"f64\"";
        assert_eq!(error, expected);
    }

    #[test]
    fn alternatives_are_a_sentence() {
        let none: [&str; 0] = [];
        assert_eq!(either(none), "");
        assert_eq!(either(["a"]), "a");
        assert_eq!(either(["a", "b", "c"]), "a, b or c");
    }
}
