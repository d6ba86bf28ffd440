//! docs/compilers.md: what each compiler made of some kernels, read back to hold later ones against it.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, Result};

use crate::told::Told;

const HEAD: &str = "\
# What compilers make of the kernels

Written by `cargo xtask isa --write`; `cargo xtask isa` compiles all kernels for the GPUs with thresholds and holds them
against this page; with `--turns`, as in CI, those that this page does not list for one of these GPUs each. No GPU is needed:
Mesa's drivers pretend to have one, compile, and run nothing
(`RADV_FORCE_FAMILY`, and the `mesa-drm-shim` package). `cargo xtask isa --vendors` asks the other drivers: their packages
of a newer Debian are unpacked below `target/isa`, those that only arm64 has run emulated, and Intel's fake kernel driver is
built. They compile the kernels below; with `--all`, all. The kernels are translated with the options of wgpu's Vulkan backend,
with `robustBufferAccess2` where the driver has it, and else (Mali, PowerVR) with bounds checked in the shader.

On the GPUs with thresholds no kernel may spill a register, nor have fewer waves than the fewest below; those of the table
may have no fewer waves than here, and at most 3 % more instructions. In f32 all stores are of 128 bits, and in the arena, with
the tensors' records in a uniform buffer, all loads of data come before the first wait.

These are compilers, not measurements: what a kernel costs on a GPU they cannot tell. NVK is not NVIDIA's driver; Honeykrisp
(Apple's GPUs under Linux) is not Metal, and PanVK is not Arm's driver.
";

const KERNELS_HEAD: &str = "\
## Kernels

Instructions · registers of a lane · waves, in the driver's own measure, and what was spilled. Of Apple's GPUs the waves are
threads. Of Intel's the third number is the SIMD width, the lanes of a thread, and the second how many registers of 32 bytes
these have in use at once before instructions are reordered; a thread has 128, on bmg 256. Of Mali's the third is 2 where a
lane takes at most 32 of its 64 registers, so that twice as many lanes fit, and else 1. PowerVR's driver counts groups of
instructions and tells no waves (0). `fails`: the driver crashed at this kernel, took a minute or refused it.
";

/// What a cell says where the driver did not compile the kernel.
const FAILED: &str = "fails";

/// What people found with these compilers, behind the tables; written by hand.
const NOTES: &str = include_str!("notes.md");

/// Of these the table tells, and of updates with one vec4 a lane too.
pub(crate) fn kernels() -> impl Iterator<Item = String> {
    let with_one = |name: &&str| {
        let (before, after) = name.split_once(" slots:")?;
        // (What the engine's tables lie in, and conversions, are not among them.)
        let others = [" reduce ", ":storage", "quantize "];
        let is_update = !others.iter().any(|other| before.contains(other));
        let (slots, switches) = after.split_once(' ').unwrap_or((after, ""));
        let one = format!("{before} slots:{slots} lane_vec4s:1 {switches}");
        is_update.then(|| one.trim_end().to_owned())
    };
    KERNELS.iter().map(|name| (*name).to_owned()).chain(KERNELS.iter().filter_map(with_one))
}

/// Each frame and format, each kind of rule and what comes before an update.
pub(crate) static KERNELS: [&str; 34] = [
    "adamw f32-f32-nearest-f32 arena tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-f32 arena tensors:storage slots:2 clip_value:1 amsgrad:0",
    "adamw f32-f32-nearest-f32 borrowed whole apart runs:uniform tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-f32 borrowed ragged shared runs:storage tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-bf16 arena tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-int8 arena tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-int8 borrowed whole apart runs:uniform tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-int4 arena tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-fp8 arena tensors:uniform slots:2 amsgrad:0",
    "adamw f32-f32-nearest-companded arena tensors:uniform slots:2 amsgrad:0",
    "adamw bf16-bf16-nearest-f32 arena tensors:uniform slots:2 amsgrad:0",
    "adamw bf16-bf16-stochastic-f32 arena tensors:uniform slots:2 amsgrad:0",
    "adamw bf16-bf16-remainder-f32 arena tensors:uniform slots:2 amsgrad:0",
    "adamw bf16-bf16-remainder-int8 arena tensors:uniform slots:2 amsgrad:0",
    "adamw bf16-bf16-remainder8-companded arena tensors:uniform slots:2 amsgrad:0",
    "adamw f16-f16-master-f32 arena tensors:uniform slots:2 amsgrad:0",
    "sgd f32-f32-nearest-f32 arena tensors:uniform slots:1 momentum:1 nesterov:0",
    "lion f32-f32-nearest-f32 arena tensors:uniform slots:1",
    "rmsprop f32-f32-nearest-f32 arena tensors:uniform slots:3 centered:1 momentum:1",
    "ademamix f32-f32-nearest-f32 arena tensors:uniform slots:3",
    "adan f32-f32-nearest-f32 arena tensors:uniform slots:4",
    "lamb reduce f32-f32-nearest-f32 arena tensors:uniform slots:2",
    "lamb f32-f32-nearest-f32 arena tensors:uniform slots:2",
    "prodigy reduce f32-f32-nearest-f32 arena tensors:uniform slots:4 use_bias_correction:0 safeguard_warmup:0",
    "adafactor f32-f32-nearest-f32 arena tensors:uniform slots:0 factored:1 eps1_of_f32:1 eps1_of_f16:0 \
     eps1_of_bf16:0 whole_rows:1 one_matrix:1",
    "accumulate f32-f32-nearest-f32 arena tensors:uniform slots:0",
    "advance adamw amsgrad:0",
    "measure f32 whole",
    "measure f16 whole",
    "total",
    "decide skip_non_finite:true",
    "expand",
    "quantize f32-f32-nearest-int8 borrowed whole shared runs:uniform tensors:uniform slots:1 stores_slots:1 \
     stores_param:0",
    "quantize f32-f32-nearest-int8 borrowed whole shared runs:uniform tensors:uniform slots:1 stores_slots:0 \
     stores_param:1",
];

/// What is known of a GPU's compiler.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) kernels: usize,
    /// Kernels that the driver did not compile: it crashed, took too long or refused.
    pub(crate) failing: usize,
    /// Kernels that spill, and the most that one does.
    pub(crate) spilling: usize,
    pub(crate) most_spilled: u64,
    pub(crate) least_occupancy: u64,
}

/// What it made of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) instructions: u64,
    pub(crate) registers: u64,
    pub(crate) occupancy: u64,
    pub(crate) spilled: u64,
}

/// The page.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) gpus: Vec<Gpu>,
    /// By GPU and kernel; none where the driver did not compile it.
    pub(crate) cells: BTreeMap<(String, String), Option<Cell>>,
}

impl Cell {
    pub(crate) fn of(told: &Told) -> Self {
        Self {
            instructions: told.instructions.unwrap_or(0),
            registers: told.registers.unwrap_or(0),
            occupancy: told.occupancy.unwrap_or(0),
            spilled: told.spilled,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(" · ").map(|word| word.split(' ').next()?.parse().ok());
        let mut next = || numbers.next().unwrap_or(Some(0));
        let (instructions, registers, occupancy) = (next()?, next()?, next()?);
        Some(Self { instructions, registers, occupancy, spilled: next()? })
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { instructions, registers, occupancy, spilled } = self;
        write!(f, "{instructions} · {registers} · {occupancy}")?;
        if *spilled > 0 { write!(f, " · {spilled} spilled") } else { Ok(()) }
    }
}

impl Page {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut page = Self::default();
        let mut columns: Vec<&str> = Vec::new();
        let tables = text.split("\n## Found with these compilers\n").next().unwrap_or_default();
        for line in tables.lines() {
            let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
                if !line.starts_with("|--") {
                    columns.clear();
                }
                continue;
            };
            let row: Vec<&str> = row.split(" | ").collect();
            if columns.is_empty() {
                columns = row;
                continue;
            }
            let bad = || format!("not a row of this table: {line:?}");
            if columns[0] == "GPU" {
                page.gpus.push(gpu(&row).with_context(bad)?);
                continue;
            }
            for (name, cell) in columns.iter().zip(&row).skip(1).filter(|(_, cell)| **cell != "-") {
                let cell = match *cell {
                    FAILED => None,
                    cell => Some(Cell::parse(cell).with_context(bad)?),
                };
                page.cells.insert(((*name).to_owned(), row[0].to_owned()), cell);
            }
        }
        Ok(page)
    }

    /// Puts what a GPU's compiler said in the place of what it said before.
    pub(crate) fn update(&mut self, gpu: Gpu, kernels: &[Told], failed: &[String]) {
        self.cells.retain(|(of, _), _| *of != gpu.name);
        let listed: Vec<String> = self::kernels().collect();
        let compiled = kernels.iter().map(|told| (&told.name, Some(Cell::of(told))));
        for (name, cell) in compiled.chain(failed.iter().map(|name| (name, None))) {
            if listed.contains(name) {
                self.cells.insert((gpu.name.clone(), name.clone()), cell);
            }
        }
        match self.gpus.iter_mut().find(|of| of.name == gpu.name) {
            Some(before) => *before = gpu,
            None => self.gpus.push(gpu),
        }
    }

    /// What is written of a kernel.
    fn cell(&self, gpu: &str, kernel: &str) -> String {
        match self.cells.get(&(gpu.to_owned(), kernel.to_owned())) {
            Some(Some(cell)) => cell.to_string(),
            Some(None) => FAILED.to_owned(),
            None => "-".to_owned(),
        }
    }
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEAD}\n## Compilers\n")?;
        writeln!(
            f,
            "| GPU | driver | kernels | that fail | that spill | most spilled | fewest waves |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for gpu in &self.gpus {
            let Gpu { name, driver, kernels, failing, .. } = gpu;
            let Gpu { spilling, most_spilled, least_occupancy, .. } = gpu;
            writeln!(
                f,
                "| {name} | {driver} | {kernels} | {failing} | {spilling} | {most_spilled} | {least_occupancy} |"
            )?;
        }
        writeln!(f, "\n{KERNELS_HEAD}")?;
        let mut head = "| kernel |".to_owned();
        let mut rule = "|---|".to_owned();
        for gpu in &self.gpus {
            write!(head, " {} |", gpu.name)?;
            rule += "---|";
        }
        writeln!(f, "{head}\n{rule}")?;
        for kernel in kernels() {
            write!(f, "| {kernel} |")?;
            for gpu in &self.gpus {
                write!(f, " {} |", self.cell(&gpu.name, &kernel))?;
            }
            writeln!(f)?;
        }
        write!(f, "\n{NOTES}")
    }
}

fn gpu(row: &[&str]) -> Option<Gpu> {
    let [name, driver, counts @ ..] = row else { return None };
    let mut counts = counts.iter().map(|count| count.parse().ok());
    let mut next = || counts.next().flatten();
    Some(Gpu {
        name: (*name).to_owned(),
        driver: (*driver).to_owned(),
        kernels: usize::try_from(next()?).ok()?,
        failing: usize::try_from(next()?).ok()?,
        spilling: usize::try_from(next()?).ok()?,
        most_spilled: next()?,
        least_occupancy: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let gpu = |name: &str, spilling| Gpu {
            name: name.to_owned(),
            driver: "radv Mesa 22.3.6".to_owned(),
            kernels: 2,
            failing: 1,
            spilling,
            most_spilled: 3 * spilling as u64,
            least_occupancy: 8,
        };
        let told = |name: &str, spilled| Told {
            name: name.to_owned(),
            subgroup: 64,
            instructions: Some(242),
            registers: Some(64),
            occupancy: Some(16),
            spilled,
            accesses: Vec::new(),
        };
        let mut page = Page::default();
        page.update(gpu("navi21", 0), &[told(KERNELS[0], 0), told("not in the table", 0)], &[]);
        page.update(gpu("mali", 1), &[told(KERNELS[1], 3)], &[KERNELS[2].to_owned()]);
        assert_eq!(page.cells.len(), 3);
        assert!(page.to_string().contains(" | fails |\n"));
        assert_eq!(Page::parse(&page.to_string()).expect("it is a page"), page);
        assert!(NOTES.starts_with("## Found with these compilers\n"), "where tables end");

        page.update(gpu("mali", 0), &[told(KERNELS[0], 0)], &[]);
        assert_eq!((page.gpus.len(), page.cells.len()), (2, 2));
        let spoilt = page.to_string().replace("242 · ", "many · ");
        assert!(Page::parse(&spoilt).is_err());
    }
}
