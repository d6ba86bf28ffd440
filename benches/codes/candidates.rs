//! The candidates: a search or a look-up, joined with the frame that moves values and codes.

use std::{env, fs};

/// From values to codes, or back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Encode,
    Decode,
}

/// A kernel.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) wgsl: String,
}

macro_rules! wgsl {
    ($($path:literal),*) => { [$(include_str!(concat!($path, ".wgsl"))),*].join("\n") };
}

/// All candidates; the first is the yardstick.
pub(crate) fn candidates(direction: Direction) -> Vec<Candidate> {
    let engine = fallline_shaders::formats::DYNAMIC.text.to_owned();
    let mut dynamics = vec![("arithmetic".to_owned(), engine)];
    for path in env::args().skip(1).filter(|arg| !arg.starts_with('-')) {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        dynamics.push((path, text));
    }
    let (frame, traffic, arithmetic, others) = match direction {
        Direction::Encode => (
            wgsl!("frame", "encode"),
            wgsl!("encode/traffic"),
            wgsl!("encode/arithmetic"),
            vec![
                ("search, workgroup memory", wgsl!("encode/search", "memory/workgroup")),
                ("search, storage", wgsl!("encode/search", "memory/storage")),
                ("search, uniform", wgsl!("encode/search", "memory/uniform")),
                ("cells, workgroup memory", wgsl!("encode/cells", "memory/workgroup")),
                ("cells, storage", wgsl!("encode/cells", "memory/storage")),
            ],
        ),
        Direction::Decode => (
            wgsl!("frame", "decode"),
            wgsl!("decode/traffic"),
            wgsl!("decode/arithmetic"),
            vec![
                ("table, workgroup memory", wgsl!("decode/table", "memory/workgroup")),
                ("table, storage", wgsl!("decode/table", "memory/storage")),
                ("table, uniform", wgsl!("decode/table", "memory/uniform")),
            ],
        ),
    };
    let mut all = vec![("traffic".to_owned(), traffic)];
    all.extend(dynamics.into_iter().map(|(name, text)| (name, arithmetic.clone() + &text)));
    all.extend(others.into_iter().map(|(name, text)| (name.to_owned(), text)));
    all.into_iter()
        .map(|(name, text)| Candidate { name, wgsl: format!("{frame}\n{text}") })
        .collect()
}
