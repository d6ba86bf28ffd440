//! Names of tensors in a file: `param/<tensor>`, `state/<slot>/<tensor>`, `seed`.

use fallline::SavedEntry;

const STATE: &str = "state/";
const SCALE: &str = "scale/";

/// The name of an entry.
pub(crate) fn of_entry(entry: &SavedEntry) -> String {
    match &entry.tensor {
        Some(tensor) => format!("{}/{tensor}", entry.what),
        None => entry.what.clone(),
    }
}

/// The name of the scales that belong to these codes.
pub(crate) fn of_scales(codes: &str) -> String {
    format!("{SCALE}{}", codes.strip_prefix(STATE).unwrap_or(codes))
}

/// Whether these are scales, which are a part of the entry of their codes.
pub(crate) fn is_scales(name: &str) -> bool {
    name.starts_with(SCALE)
}

/// The tensor and what of it an entry's name tells.
pub(crate) fn parse(name: &str) -> (Option<String>, String) {
    let prefix = if name.starts_with(STATE) { STATE.len() } else { 0 };
    match name[prefix..].split_once('/') {
        Some((what, tensor)) => (Some(tensor.to_owned()), name[..prefix + what.len()].to_owned()),
        None => (None, name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fallline::Encoding;

    #[test]
    fn names_come_back() {
        let entries = [
            (Some("layer.0/weight"), "param"),
            (Some(""), "master"),
            (Some("state/x/y"), "state/exp_avg"),
            (Some("w"), "rule"),
            (None, "seed"),
        ];
        for (tensor, what) in entries {
            let entry = SavedEntry {
                tensor: tensor.map(str::to_owned),
                what: what.to_owned(),
                encoding: Encoding::Counts,
                shape: vec![],
                size_bytes: 4,
            };
            let name = of_entry(&entry);
            assert_eq!(parse(&name), (entry.tensor, entry.what), "{name}");
            assert!(!is_scales(&name));
        }
        assert_eq!(of_scales("state/exp_avg/w"), "scale/exp_avg/w");
        assert!(is_scales("scale/exp_avg/w"));
    }
}
