//! `bindings MODULE DIRECTORY`: makes of a wasm module what a page can load, with the wasm-bindgen that the
//! module was built with. (Cargo sees to it that both have one version: their common part may be there
//! only once.)

use std::env;

use anyhow::Context;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (module, directory) =
        arguments.next().zip(arguments.next()).context("two paths are needed")?;
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(false)
        .generate(directory)
}
