//! What a browser must do with the library: checks of everything that waits, which `cargo xtask browser`
//! runs in a page.
//!
//! In a browser nothing may block, errors of the GPU come after the call that caused them, and callbacks come
//! only between two turns of the event loop. The checks themselves are plain futures.

mod errors;
mod kept;
mod numbers;
#[cfg(target_family = "wasm")]
pub mod page;
mod reports;
mod steps;

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use anyhow::ensure;
use fallline::{
    Gpu, GpuOptions, Group, Optimizer, Sgd, TensorId, TensorSpec,
    wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandEncoder, CommandEncoderDescriptor},
};

/// A check under way.
pub type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// What holds, and what finds it out.
pub type Check = (&'static str, fn() -> Running);

/// All checks, in the order in which they are run.
pub const CHECKS: &[Check] = &[
    ("a device is given, and adapters are listed", || Box::pin(steps::device())),
    ("what is written, and what a step makes of it, is read", || Box::pin(steps::read_back())),
    ("every rule gives the numbers of its twin and its oracle", || Box::pin(steps::rules())),
    ("rows, columns and what comes after are the oracle's", || Box::pin(steps::matrices())),
    ("200 steps fit into one turn of the event loop", || Box::pin(steps::many())),
    ("64 recorded steps may wait, and then 64 more", || Box::pin(steps::recorded())),
    ("gradients may move with every step", || Box::pin(steps::places())),
    ("reports arrive, polled and awaited", || Box::pin(reports::arrive())),
    ("an overflow skips a step and halves the loss scale", || Box::pin(reports::overflow())),
    ("a step in two halves is a step", || Box::pin(reports::halves())),
    ("a saved run goes on to the bit", || Box::pin(kept::saved())),
    ("a saved run is loaded in other formats", || Box::pin(kept::converted())),
    ("what is evaluated is read, put and saved", || Box::pin(kept::evaluated())),
    ("a plan has what buffers hold", || Box::pin(kept::planned())),
    ("values become blocks of codes, and come back", || Box::pin(kept::quantized())),
    ("a late error names its call when all settles", || Box::pin(errors::settled())),
    ("a late error comes out instead of a later call", || Box::pin(errors::later())),
    ("a future tells its own errors", || Box::pin(errors::awaited())),
    ("several futures wait at once", || Box::pin(errors::several())),
    ("futures may be dropped", || Box::pin(errors::dropped())),
    ("a lost device ends every wait", || Box::pin(errors::lost())),
];

/// The first tensor.
const ID: TensorId = TensorId::new(0);

/// A device of the check's own. What no error scope catches is a panic, as it is natively by default.
async fn gpu() -> fallline::Result<Gpu> {
    let gpu = Gpu::request(&GpuOptions::from_env()?).await?;
    gpu.device().on_uncaptured_error(Arc::new(|error| panic!("uncaptured: {error}")));
    Ok(gpu)
}

/// SGD over 300 elements.
fn sgd(gpu: &Gpu) -> fallline::Result<Optimizer> {
    let groups = [Group::new("all", Sgd::new().lr(1.0))];
    Optimizer::arena(gpu, &groups, &[TensorSpec::new("t", [300])])
}

/// A buffer of the caller's with these contents.
fn buffer(gpu: &Gpu, contents: &[f32]) -> fallline::Result<Buffer> {
    gpu.checked("the caller's", || {
        let buffer = gpu.device().create_buffer(&BufferDescriptor {
            label: Some("the caller's"),
            size: contents.len() as u64 * 4,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bytes: Vec<u8> = contents.iter().flat_map(|value| value.to_le_bytes()).collect();
        gpu.queue().write_buffer(&buffer, 0, &bytes);
        buffer
    })
}

fn encoder(gpu: &Gpu) -> CommandEncoder {
    gpu.device().create_command_encoder(&CommandEncoderDescriptor { label: Some("the caller's") })
}

/// Fails, and says what differs, unless both are equal.
fn expect<T, U>(what: &str, found: T, expected: U) -> anyhow::Result<()>
where
    T: PartialEq<U> + Debug,
    U: Debug,
{
    ensure!(found == expected, "{what}: found {found:?}, expected {expected:?}");
    Ok(())
}
