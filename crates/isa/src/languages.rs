//! docs/languages.md: how long some kernels are in each language that wgpu translates them to.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use naga::proc::BoundsCheckPolicy;

use crate::{
    kernels::{Kernel, Which},
    page::KERNELS,
    translate::Modules,
};

const HEAD: &str = "\
# Kernels in other languages

Written by `cargo xtask isa --write`; `cargo xtask isa` fails where a length is another one, in CI too: whoever changes a
kernel, or takes another naga, sees what that does to all languages, and writes the page anew.

Bytes of each kernel of [compilers.md](compilers.md) as naga writes it for Vulkan, Metal, DX12 and GL, with wgpu's options
and the kernel's constants. SPIR-V of all kernels is given to `spirv-val`, HLSL to Microsoft's DXC; of MSL there is no
compiler but Apple's.

| kernel | SPIR-V | MSL | HLSL | GLSL ES 3.1 |
|---|---|---|---|---|
";

/// What is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With `kernels.jsonl`
    folder: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "docs/languages.md")]
    page: PathBuf,
    /// Write the page anew
    #[arg(long)]
    write: bool,
}

pub(crate) fn languages(args: &Args) -> Result<()> {
    let which = Which::listed(args.folder.clone());
    let kernels = which.read()?;
    let mut modules = Modules::default();
    let mut page = HEAD.to_owned();
    for name in KERNELS {
        let kernel = kernels.iter().find(|kernel| kernel.name == name);
        let kernel = kernel.with_context(|| format!("there is no kernel {name:?} any more"))?;
        writeln!(page, "{}", row(&mut modules, &which, kernel).context(name)?)?;
    }
    if args.write {
        return Ok(fs::write(&args.page, page)?);
    }
    let written = fs::read_to_string(&args.page);
    let written = written.with_context(|| format!("cannot read {:?}", args.page))?;
    let differing = differing(&written, &page);
    if !differing.is_empty() {
        let (page, lines) = (args.page.display(), differing.join("\n"));
        bail!("{page} has other lengths (if they are meant to be new, use --write):\n{lines}");
    }
    ensure!(written == page, "{} is not as it was written: use --write", args.page.display());
    println!("{} kernels are as long as before in all languages", KERNELS.len());
    Ok(())
}

fn row(modules: &mut Modules, which: &Which, kernel: &Kernel) -> Result<String> {
    let specialized = modules.specialized(&which.folder, kernel)?;
    let spirv = specialized.spirv(BoundsCheckPolicy::Unchecked)?.len();
    let texts = [specialized.msl()?, specialized.hlsl()?, specialized.glsl()?];
    let [msl, hlsl, glsl] = texts.map(|text| text.len());
    Ok(format!("| {} | {spirv} | {msl} | {hlsl} | {glsl} |", kernel.name))
}

/// Rows that are new, with what was there before.
fn differing(before: &str, after: &str) -> Vec<String> {
    let name = |row: &str| row.split(" | ").next().unwrap_or_default().to_owned();
    let is_new = |row: &&str| !before.lines().any(|line| line == *row);
    let told = |row: &str| match before.lines().find(|line| name(line) == name(row)) {
        Some(line) => format!("{row}\n    before: {}", &line[name(line).len()..]),
        None => row.to_owned(),
    };
    after.lines().filter(|row| row.starts_with("| ")).filter(is_new).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_told() {
        let before = "| a | 1 | 2 |\n| b | 3 | 4 |\n";
        assert!(differing(before, before).is_empty());
        let after = "| a | 1 | 2 |\n| b | 3 | 5 |\n| c | 6 | 7 |\n";
        let rows = ["| b | 3 | 5 |\n    before:  | 3 | 4 |", "| c | 6 | 7 |"];
        assert_eq!(differing(before, after), rows);
    }
}
