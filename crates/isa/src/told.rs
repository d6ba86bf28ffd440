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
    /// How many subgroups (threads, on Apple's and Intel's) may be under way at once, in the driver's own measure.
    pub(crate) occupancy: Option<u64>,
    /// Registers that went to memory, and bytes of memory for registers.
    pub(crate) spilled: u64,
    /// Loads and stores of buffers with their bits, waits for loads, barriers: in the order of issue. Empty where the
    /// driver shows no assembly, or one that is not understood.
    pub(crate) accesses: Vec<String>,
}

const INSTRUCTIONS: [&str; 3] = ["Instructions", "Instruction count", "Instruction Count"];
const REGISTERS: [&str; 6] = [
    "VGPRs",
    "Number of GPRs",
    "Max live registers",
    "GPRs",
    "Registers used",
    "Full register footprint",
];
const OCCUPANCY: [&str; 5] =
    ["Subgroups per SIMD", "Max warps/SM", "Threads", "Max Waves Per Core", "Max dispatch width"];
const SPILLED: [&str; 9] = [
    "Spilled VGPRs",
    "Spilled SGPRs",
    "Scratch size",
    "Spills to memory",
    "Fills from memory",
    "Spills",
    "STP Count",
    "SLM size",
    "Scratch Memory Size",
];

impl Told {
    pub(crate) fn new(
        name: &str,
        subgroup: u32,
        statistics: &HashMap<String, u64>,
        accesses: Vec<String>,
    ) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| statistics.get(*name).copied());
        Self {
            name: name.to_owned(),
            subgroup,
            instructions: first(&INSTRUCTIONS),
            registers: first(&REGISTERS),
            occupancy: first(&OCCUPANCY),
            spilled: SPILLED.iter().filter_map(|name| statistics.get(*name)).sum(),
            accesses,
        }
    }
}
