//! What must not be, and what has become worse.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::{
    page::{Cell, Gpu, Page},
    told::Told,
};

/// The GPUs whose kernels have thresholds: those that the driver of a stable Debian compiles for.
const WITH_THRESHOLDS: [&str; 3] = ["vega10", "navi21", "gfx1100"];

/// Of a hundred instructions, how many more there may be.
const MORE_INSTRUCTIONS_PERCENT: u64 = 3;

/// What is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `GPU.jsonl`: what `isa compile` printed
    #[arg(required = true)]
    results: Vec<PathBuf>,
    #[arg(long, value_name = "FILE", default_value = "docs/compilers.md")]
    page: PathBuf,
    /// Write the page anew
    #[arg(long)]
    write: bool,
    /// Print each kernel; others than these may be missing
    #[arg(long, conflicts_with = "write")]
    list: bool,
}

/// A result's first line.
#[derive(Debug, serde::Deserialize)]
struct Describe {
    device: String,
    driver: String,
    robust: bool,
}

pub(crate) fn judge(args: &Args) -> Result<()> {
    let mut page = match fs::read_to_string(&args.page) {
        Ok(text) => Page::parse(&text).with_context(|| format!("in {:?}", args.page))?,
        Err(_) if args.write => Page::default(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {:?}", args.page)),
    };
    let mut faults = Vec::new();
    for file in &args.results {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let Results { describe, kernels, failed } = read(file)?;
        let gpu = summary(&name, &describe, &kernels, failed.len());
        println!(
            "{name} ({}; {}{}): {} kernels, {} fail, {} spill, at least {} waves",
            describe.device,
            describe.driver,
            if describe.robust { "" } else { ", bounds checked in the shader" },
            gpu.kernels,
            gpu.failing,
            gpu.spilling,
            gpu.least_occupancy,
        );
        if args.list {
            println!("instructions · registers · waves, kernel, accesses in the order of issue");
            kernels.iter().for_each(print);
        }
        for kernel in &failed {
            println!("the driver does not compile {kernel}");
        }
        if WITH_THRESHOLDS.contains(&&*name) {
            let found = kernels.iter().filter_map(|told| fault(told).map(|what| (told, what)));
            faults.extend(found.map(|(told, what)| format!("{name}: {} {what}", told.name)));
            faults.extend(failed.iter().map(|kernel| format!("{name}: {kernel} is not compiled")));
            if !args.write {
                faults.extend(worse(&page, &gpu, &kernels, args.list));
            }
        }
        if args.write {
            page.update(gpu, &kernels, &failed);
        }
    }
    if args.write {
        fs::write(&args.page, page.to_string())?;
    }
    if !faults.is_empty() {
        bail!("{} faults:\n{}", faults.len(), faults.join("\n"));
    }
    Ok(())
}

/// What `compile` prints.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Describe(Describe),
    Begun { begun: String },
    Told(Told),
}

#[derive(Debug)]
struct Results {
    describe: Describe,
    kernels: Vec<Told>,
    /// Begun, and not told of.
    failed: Vec<String>,
}

fn read(file: &PathBuf) -> Result<Results> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file:?}"))?;
    results(&text).with_context(|| format!("in {file:?}"))
}

fn results(text: &str) -> Result<Results> {
    let (mut describe, mut kernels, mut failed) = (None, Vec::new(), Vec::new());
    for line in text.lines() {
        match serde_json::from_str(line)? {
            // Each part describes the device anew.
            Line::Describe(device) => describe = Some(device),
            Line::Begun { begun } => failed.push(begun),
            Line::Told(told) => {
                failed.pop_if(|begun| *begun == told.name);
                kernels.push(told);
            }
        }
    }
    Ok(Results { describe: describe.context("no device")?, kernels, failed })
}

fn summary(name: &str, describe: &Describe, kernels: &[Told], failing: usize) -> Gpu {
    let spilled = || kernels.iter().map(|told| told.spilled);
    Gpu {
        name: name.to_owned(),
        driver: describe.driver.clone(),
        kernels: kernels.len(),
        failing,
        spilling: spilled().filter(|count| *count > 0).count(),
        most_spilled: spilled().max().unwrap_or(0),
        least_occupancy: kernels.iter().filter_map(|told| told.occupancy).min().unwrap_or(0),
    }
}

/// What a kernel must not be, whatever it was.
fn fault(told: &Told) -> Option<&'static str> {
    if told.instructions.is_none_or(|count| count == 0) {
        return Some("comes without statistics");
    }
    if told.spilled > 0 {
        return Some("spills registers");
    }
    let has = |word: &str| told.name.split(' ').any(|of_name| of_name == word);
    let is_other_stage = ["reduce", "monitored", "estimate"].into_iter().any(has);
    if !has("f32-f32-nearest-f32") || is_other_stage || has("ragged") {
        return None;
    }
    let is_store = |access: &&String| access.starts_with("st");
    if told.accesses.iter().filter(is_store).any(|access| access != "st128") {
        return Some("stores less than 128 bits at once");
    }
    // What comes after an update, and what matrices and blocks keep, goes by the record.
    let by_record = |word: &str| {
        ["lookahead:1", "averages:1", "factored:1"].contains(&word) || word.starts_with("blocks:")
    };
    let (first, rest) = told.accesses.split_at(
        told.accesses.iter().position(|access| access == "wait").unwrap_or(told.accesses.len()),
    );
    let count = |accesses: &[String], what| accesses.iter().filter(|a| *a == what).count();
    // What is stored was loaded, so the stores say how much data there is.
    let is_late = count(first, "ld128") < count(rest, "st128");
    // (Where records are loaded as data is, the compiler moves a load of data behind them now and then.)
    let waits = has("arena") && has("tensors:uniform") && is_late;
    let waits = waits && !told.name.split(' ').any(by_record);
    waits.then_some("loads data behind a wait")
}

/// What is worse than on the page.
fn worse(page: &Page, gpu: &Gpu, kernels: &[Told], is_part: bool) -> Vec<String> {
    let name = &gpu.name;
    let Some(before) = page.gpus.iter().find(|of| of.name == *name) else {
        return vec![format!("{name} is not on the page: `cargo xtask isa --write` puts it there")];
    };
    let mut faults = Vec::new();
    for told in kernels.iter().filter(|told| told.occupancy < Some(before.least_occupancy)) {
        let waves = told.occupancy.unwrap_or(0);
        let least = before.least_occupancy;
        faults.push(format!(
            "{name}: {} has {waves} waves, where the fewest were {least}",
            told.name
        ));
    }
    for ((_, kernel), was) in page.cells.iter().filter(|((of, _), _)| of == name) {
        let Some(was) = was else { continue };
        let Some(told) = kernels.iter().find(|told| told.name == *kernel) else {
            if !is_part {
                faults.push(format!("{name}: {kernel} is on the page and not among the kernels"));
            }
            continue;
        };
        let is = Cell::of(told);
        let limit = was.instructions * (100 + MORE_INSTRUCTIONS_PERCENT) / 100;
        if is.instructions > limit || is.occupancy < was.occupancy {
            faults.push(format!(
                "{name}: {kernel} was {was} ({}), is {is} ({})",
                before.driver, gpu.driver
            ));
        }
    }
    faults
}

fn print(told: &Told) {
    print!("{}  {}\n           ", Cell::of(told), told.name);
    for same in told.accesses.chunk_by(|a, b| a == b) {
        match same {
            [access] => print!(" {access}"),
            _ => print!(" {}x{}", same[0], same.len()),
        }
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, accesses: &str) -> Told {
        Told {
            name: name.to_owned(),
            subgroup: 64,
            instructions: Some(242),
            registers: Some(64),
            occupancy: Some(16),
            spilled: 0,
            accesses: accesses.split(' ').map(str::to_owned).collect(),
        }
    }

    #[test]
    fn what_must_not_be_is_found() {
        let good = told(
            "adamw f32-f32-nearest-f32 arena tensors:uniform",
            "ld32 ld128 ld128 wait st128 st128",
        );
        assert_eq!(fault(&good), None);
        let spills = Told { spilled: 1, ..good.clone() };
        assert_eq!(fault(&spills), Some("spills registers"));
        let untold = Told { instructions: None, ..good.clone() };
        assert_eq!(fault(&untold), Some("comes without statistics"));

        let late =
            told("adamw f32-f32-nearest-f32 arena tensors:uniform", "ld128 wait ld128 st128 st128");
        assert_eq!(fault(&late), Some("loads data behind a wait"));
        let borrowed = Told { name: good.name.replace("arena", "borrowed"), ..late.clone() };
        assert_eq!(fault(&borrowed), None);
        let averaged = Told { name: format!("{} averages:1", late.name), ..late };
        assert_eq!(fault(&averaged), None);

        let narrow = told("adamw f32-f32-nearest-f32 borrowed whole", "ld128 wait st64 st64");
        assert_eq!(fault(&narrow), Some("stores less than 128 bits at once"));
    }

    #[test]
    fn what_a_driver_ended_at_is_told() {
        let device = r#"{"device":"x","driver":"y","robust":true}"#;
        let told = |name| serde_json::to_string(&told(name, "")).expect("it is a line");
        let text = format!(
            "{device}\n{{\"begun\":\"a\"}}\n{}\n{{\"begun\":\"b\"}}\n{device}\n{{\"begun\":\"c\"}}\n{}\n",
            told("a"),
            told("c")
        );
        let results = results(&text).expect("lines of compile");
        assert_eq!((results.kernels.len(), results.failed), (2, vec!["b".to_owned()]));
    }

    #[test]
    fn what_became_worse_is_found() {
        let kernel = "adamw f32-f32-nearest-f32 arena tensors:uniform slots:2 amsgrad:0";
        let was = told(kernel, "ld128 wait st128");
        let describe = Describe { device: "x".to_owned(), driver: "y".to_owned(), robust: true };
        let gpu = |told: &Told| summary("navi21", &describe, std::slice::from_ref(told), 0);
        let mut page = Page::default();
        page.update(gpu(&was), std::slice::from_ref(&was), &[]);
        let count = |is: &Told| worse(&page, &gpu(is), std::slice::from_ref(is), false).len();
        assert_eq!(count(&was), 0);
        assert_eq!(count(&Told { instructions: Some(249), ..was.clone() }), 0);
        assert_eq!(count(&Told { instructions: Some(250), ..was.clone() }), 1);
        // Of the GPU, and of the table.
        assert_eq!(count(&Told { occupancy: Some(15), ..was.clone() }), 2);
        assert_eq!(count(&Told { name: "another".to_owned(), ..was.clone() }), 1);
        assert!(worse(&page, &gpu(&was), &[], true).is_empty());
        assert_eq!(worse(&Page::default(), &gpu(&was), &[was], false).len(), 1);
    }
}
