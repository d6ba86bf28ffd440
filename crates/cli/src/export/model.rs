//! Names and shapes of a model's parameters, from JSON.

use std::{fmt, path::Path};

use anyhow::{Context, ensure};
use fallline::TensorSpec;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

/// The tensors of a file: an object with a shape for each name, in the order of the file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<TensorSpec>> {
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", place()))?;
    parse(&text).with_context(place)
}

fn parse(text: &str) -> anyhow::Result<Vec<TensorSpec>> {
    let Shapes(shapes) = serde_json::from_str(text)?;
    ensure!(!shapes.is_empty(), "a model must have tensors, found none");
    Ok(shapes.into_iter().map(|(name, shape)| TensorSpec::new(name, shape)).collect())
}

/// In the order of the file, which a map would not keep.
struct Shapes(Vec<(String, Vec<usize>)>);

impl<'de> Deserialize<'de> for Shapes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ShapesVisitor).map(Self)
    }
}

struct ShapesVisitor;

impl<'de> Visitor<'de> for ShapesVisitor {
    type Value = Vec<(String, Vec<usize>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an object with a shape for each name, as {\"weight\": [128, 784], \"bias\": [128]}",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut shapes: Self::Value = Vec::new();
        while let Some((name, shape)) = map.next_entry::<String, serde_json::Value>()? {
            let shape = Vec::<usize>::deserialize(&shape).map_err(|_| {
                let expected = "a list of whole numbers >= 0";
                A::Error::custom(format!("the shape of '{name}' must be {expected}, found {shape}"))
            })?;
            shapes.push((name, shape));
        }
        Ok(shapes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_come_in_the_order_of_the_file() {
        let specs = parse(r#"{"z": [3, 4], "a": [], "m": [0]}"#).unwrap();
        let names: Vec<(&str, &[usize])> =
            specs.iter().map(|spec| (spec.name.as_str(), &spec.shape[..])).collect();
        assert_eq!(names, [("z", &[3, 4][..]), ("a", &[]), ("m", &[0])]);
    }

    #[test]
    fn what_is_no_shape_is_named() {
        for (text, expected) in [
            ("{}", "a model must have tensors, found none"),
            ("[1]", "invalid type: sequence, expected an object with a shape for each name"),
            (r#"{"w": 3}"#, "the shape of 'w' must be a list of whole numbers >= 0, found 3"),
            (
                r#"{"w": [2.5]}"#,
                "the shape of 'w' must be a list of whole numbers >= 0, found [2.5]",
            ),
            (r#"{"w": [-1]}"#, "found [-1]"),
            (r#"{"w": [1],"#, "EOF while parsing"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
