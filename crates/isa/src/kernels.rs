//! The kernels of a folder.

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context, Result};

use crate::page;

/// A line of `kernels.jsonl`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    /// Its text.
    pub(crate) file: String,
    pub(crate) constants: BTreeMap<String, f64>,
    /// What binding 0, 1, 2, … is, as WebGPU calls it, and ` dynamic` if its offset is given when it is bound.
    pub(crate) bindings: Vec<String>,
    /// In the folder.
    #[serde(skip)]
    pub(crate) number: usize,
}

impl Kernel {
    /// Of its SPIR-V, which checks the bounds of buffers itself or leaves that to the driver.
    pub(crate) fn spirv_file(&self, checks_bounds: bool) -> String {
        format!("{}{}.spv", self.number, if checks_bounds { ".checked" } else { "" })
    }
}

/// Which kernels of which folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// With `kernels.jsonl`
    pub(crate) folder: PathBuf,
    /// Only these: fake kernel drivers bear some hundreds of pipelines in a process
    #[arg(long, value_name = "AT/OF", default_value = "0/1")]
    part: Part,
    /// Of these, leave out so many first ones
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    skip: usize,
    /// Only those of docs/compilers.md's table
    #[arg(long)]
    listed: bool,
    /// Those of docs/compilers.md's table, and of the others this part
    #[arg(long, value_name = "AT/OF", default_value = "0/1")]
    turn: Part,
    /// Only kernels whose names have all these words, and what no step runs only if they have `traffic`
    words: Vec<String>,
}

/// One of so many parts of all kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    at: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').map(|(at, of)| (at.parse(), of.parse()));
        match parsed {
            Some((Ok(at), Ok(of))) if at < of => Ok(Self { at, of }),
            _ => anyhow::bail!("expected AT/OF with AT below OF, found {text:?}"),
        }
    }
}

impl Which {
    /// Those of docs/compilers.md's table.
    pub(crate) fn listed(folder: PathBuf) -> Self {
        let all = Part { at: 0, of: 1 };
        Self { folder, part: all, skip: 0, listed: true, turn: all, words: Vec::new() }
    }

    pub(crate) fn read(&self) -> Result<Vec<Kernel>> {
        let file = self.folder.join("kernels.jsonl");
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {file:?}"))?;
        let mut kernels = Vec::new();
        for (number, line) in lines.lines().enumerate() {
            let kernel: Kernel =
                serde_json::from_str(line).with_context(|| format!("in {file:?}"))?;
            if self.wants(&kernel.name) {
                kernels.push(Kernel { number, ..kernel });
            }
        }
        let Part { at, of } = self.part;
        Ok(kernels.into_iter().skip(at).step_by(of).skip(self.skip).collect())
    }

    fn wants(&self, name: &str) -> bool {
        let has = |word: &str| name.split(' ').any(|of_name| of_name == word);
        let is_probe = has("traffic") && !self.words.iter().any(|word| word == "traffic");
        // By the hash of its name: neighbours differ in one option, and would take turns with that.
        let of_turn =
            BuildHasherDefault::<DefaultHasher>::default().hash_one(name) % self.turn.of as u64;
        let is_its_turn = !self.listed && of_turn == self.turn.at as u64;
        let is_wanted = is_its_turn || page::kernels().any(|listed| listed == name);
        is_wanted && !is_probe && self.words.iter().all(|word| has(word))
    }
}
