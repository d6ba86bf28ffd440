//! `isa`: compiles kernels with the shader compilers of GPUs that need not be there, and says what became of them.
//!
//! Mesa's drivers can pretend to have a GPU: they compile for it and run nothing. `cargo xtask isa` writes the
//! engine's kernels into a folder, calls this for each GPU, and reads its lines of JSON. It is a program of its own
//! since it also runs with the drivers of another distribution, under their loader.
//!
//! | module      | what it holds                                                     |
//! |-------------|-------------------------------------------------------------------|
//! | `kernels`   | the kernels of a folder                                           |
//! | `translate` | from WGSL to other languages, with the options of wgpu-hal        |
//! | `languages` | docs/languages.md                                                 |
//! | `driver`    | pipelines of SPIR-V, and what a Vulkan driver tells of them       |
//! | `told`      | what drivers call what everybody has                              |
//! | `assembly`  | accesses to memory, in the order of issue                         |
//! | `dxc`       | HLSL to DXIL                                                      |
//! | `judge`     | what must not be, and what has become worse                       |
//! | `page`      | docs/compilers.md                                                 |

mod assembly;
mod driver;
mod dxc;
mod judge;
mod kernels;
mod languages;
mod page;
mod told;
mod translate;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;

use kernels::Which;

/// Compiles kernels with the shader compilers of GPUs that need not be there.
#[derive(Debug, Parser)]
enum Command {
    /// Translate kernels to SPIR-V, as wgpu-hal does for Vulkan, beside them
    Spirv {
        #[command(flatten)]
        which: Which,
        /// Check the bounds of buffers in the shader: for drivers without robustBufferAccess2, beside those for others
        #[arg(long)]
        restrict: bool,
        /// Give each to spirv-val
        #[arg(long)]
        validate: bool,
    },
    /// Translate the kernels of docs/languages.md to each language, and hold how long they are against that page
    Languages {
        #[command(flatten)]
        languages: languages::Args,
    },
    /// Compile their SPIR-V with the first Vulkan device's driver, and print a line of JSON for that and for each kernel
    Compile {
        #[command(flatten)]
        which: Which,
    },
    /// Translate kernels to HLSL, as wgpu-hal does for DX12, and compile that with Microsoft's DXC
    Dxc {
        #[command(flatten)]
        which: Which,
        /// libdxcompiler.so
        #[arg(long, value_name = "FILE")]
        library: PathBuf,
    },
    /// Hold what `compile` printed, `GPU.jsonl` for each GPU, against a page's table and against what must not be
    Judge {
        #[command(flatten)]
        judge: judge::Args,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isa: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Command::parse() {
        Command::Spirv { which, restrict, validate } => {
            translate::spirv(&which, restrict, validate)
        }
        Command::Languages { languages } => languages::languages(&languages),
        Command::Compile { which } => driver::compile(&which),
        Command::Dxc { which, library } => dxc::compile(&which, &library),
        Command::Judge { judge } => judge::judge(&judge),
    }
}
