//! Numbers that come back to the bit from JSON, also where they are none.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A number as text, since JSON has no infinity and no NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(f64);

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        number.0
    }
}

impl Serialize for Number {
    /// In as many digits as it takes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for value in [0.1, -0.0, 1.0 / 3.0, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&Number(value)).unwrap();
            let Number(found) = serde_json::from_str(&text).unwrap();
            assert_eq!(found.to_bits(), value.to_bits(), "{text}");
        }
        let text = serde_json::to_string(&Number(f64::NAN)).unwrap();
        assert!(serde_json::from_str::<Number>(&text).unwrap().0.is_nan(), "{text}");
        assert!(serde_json::from_str::<Number>("\"one\"").is_err());
    }
}
