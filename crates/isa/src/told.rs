//! What drivers call what everybody has.

use std::collections::HashMap;

/// What a compiler tells of a kernel.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(crate) struct Told {
    pub(crate) name: String,
    /// Lanes that go together.
    pub(crate) subgroup: u32,
    pub(crate) instructions: Option<u64>,
    pub(crate) registers: Option<u64>,
    /// How many subgroups may be under way at once, in the driver's own measure: threads on Apple's, on Intel's the lanes of
    /// one thread, on Mali 2 where twice as many fit, since a lane takes 32 registers or fewer.
    pub(crate) occupancy: Option<u64>,
    /// Registers that went to memory, or else bytes of memory that arrays lie in.
    pub(crate) spilled: u64,
    /// Loads and stores of buffers with their bits, waits for loads, barriers: in the order of issue. Empty where the
    /// driver shows no assembly, or one that is not understood.
    pub(crate) accesses: Vec<String>,
}

const INSTRUCTIONS: [&str; 4] =
    ["Instructions", "Instruction count", "Instruction Count", "Inst group count"];
const REGISTERS: [&str; 7] = [
    "VGPRs",
    "Number of GPRs",
    "Max live registers",
    "GPRs",
    "Registers used",
    "Full register footprint",
    "Temp count",
];
const OCCUPANCY: [&str; 5] =
    ["Subgroups per SIMD", "Max warps/SM", "Threads", "Max Waves Per Core", "Max dispatch width"];
const SPILLED: [&str; 7] = [
    "Spilled VGPRs",
    "Spilled SGPRs",
    "Spills to memory",
    "Fills from memory",
    "Spills",
    "Spill count",
    "STP Count",
];
const BYTES: [&str; 3] = ["Scratch size", "SLM size", "Scratch Memory Size"];

impl Told {
    pub(crate) fn new(
        name: &str,
        subgroup: u32,
        statistics: &HashMap<String, u64>,
        accesses: Vec<String>,
    ) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| statistics.get(*name).copied());
        let sum = |names: &[&str]| names.iter().filter_map(|name| statistics.get(*name)).sum();
        let spilled: u64 = sum(&SPILLED);
        Self {
            name: name.to_owned(),
            subgroup,
            instructions: first(&INSTRUCTIONS),
            registers: first(&REGISTERS),
            occupancy: first(&OCCUPANCY),
            spilled: if spilled > 0 { spilled } else { sum(&BYTES) },
            accesses,
        }
    }
}
