//! Errors that come late, futures that somebody drops, a device that is lost.

use std::{
    fmt::Debug,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use anyhow::{bail, ensure};
use fallline::{
    BorrowedTensor, BufferRange, Error, Gpu, Group, Optimizer, Sgd, Step, TensorSpec,
    wgpu::{self, Buffer},
};

use crate::{ID, buffer, expect, gpu, numbers::all, sgd};

pub(crate) async fn settled() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let (mut optimizer, param) = borrowing(&gpu)?;
    gpu.settle().await?;
    param.destroy();
    optimizer.step(&Step::new())?;
    let settled = gpu.settle().await;
    ensure!(is_of_step(&settled), "a step over a destroyed buffer: {settled:?}");
    gpu.settle().await?;
    Ok(())
}

pub(crate) async fn later() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let (mut optimizer, param) = borrowing(&gpu)?;
    let mut other = sgd(&gpu)?;
    other.store_grad(ID, &[1.0; 300]).await?;
    gpu.settle().await?;
    param.destroy();
    optimizer.step(&Step::new())?;
    for steps in 1..=100 {
        // Some turn of the event loop that asks nothing of the device.
        fallline::request_adapters(wgpu::Backends::all()).await;
        let stepped = other.step(&Step::new());
        if stepped.is_err() {
            ensure!(is_of_step(&stepped), "a later call: {stepped:?}");
            return expect("the step counters", other.fetch_steps().await?, [steps - 1]);
        }
    }
    bail!("the error never came");
}

pub(crate) async fn awaited() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let (optimizer, param) = borrowing(&gpu)?;
    param.destroy();
    let fetched = optimizer.fetch_param(ID).await;
    let is_told = matches!(&fetched, Err(Error::Gpu { what, .. }) if what == "readback");
    ensure!(is_told, "reading a destroyed buffer: {fetched:?}");
    gpu.settle().await?;
    Ok(())
}

pub(crate) async fn several() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let optimizer = sgd(&gpu)?;
    let fetches: Vec<_> = (0..5).map(|_| Box::pin(optimizer.fetch_param(ID))).collect();
    for fetched in join(fetches).await {
        all("the parameter", &fetched?, 300, 0.0)?;
    }
    for settled in join(vec![Box::pin(gpu.settle()), Box::pin(gpu.settle())]).await {
        settled?;
    }
    Ok(())
}

pub(crate) async fn dropped() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let mut optimizer = sgd(&gpu)?;
    for _ in 0..20 {
        expect("a future without a turn", is_ready(optimizer.fetch_param(ID)), false)?;
        expect("a future without a turn", is_ready(gpu.settle()), false)?;
    }
    optimizer.step(&Step::new())?;
    gpu.settle().await?;
    expect("the step counters", optimizer.fetch_steps().await?, [1])
}

pub(crate) async fn lost() -> anyhow::Result<()> {
    let gpu = gpu().await?;
    let mut optimizer = sgd(&gpu)?;
    optimizer.step(&Step::new())?;
    let mut fetch = Box::pin(optimizer.fetch_param(ID));
    let first = fetch.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    ensure!(first.is_pending(), "fetched without a turn");
    gpu.device().destroy();
    is_lost("a fetch under way", fetch.await)?;
    is_lost("settling", gpu.settle().await)?;
    is_lost("asking", gpu.check_lost())?;
    is_lost("a later fetch", optimizer.fetch_steps().await)?;
    is_lost("a step", optimizer.step(&Step::new()))
}

fn is_lost<T: Debug>(what: &str, result: fallline::Result<T>) -> anyhow::Result<()> {
    ensure!(matches!(result, Err(Error::DeviceLost)), "{what}: {result:?}");
    Ok(())
}

/// An optimizer over a buffer that somebody else may destroy.
fn borrowing(gpu: &Gpu) -> fallline::Result<(Optimizer, Buffer)> {
    let (param, grad) = (buffer(gpu, &[0.0; 300])?, buffer(gpu, &[1.0; 300])?);
    let range = |buffer| BufferRange::new(buffer, 0, 300);
    let spec = TensorSpec::new("t", [300]);
    let tensor = BorrowedTensor { spec, param: range(&param), grad: Some(range(&grad)) };
    let groups = [Group::new("all", Sgd::new())];
    Ok((Optimizer::borrowed(gpu, &groups, &[tensor])?, param))
}

fn is_of_step(result: &fallline::Result<()>) -> bool {
    matches!(result, Err(Error::Gpu { what, .. }) if what == "step")
}

/// Whether a future is ready when it is asked for the first time; then drops it.
fn is_ready(future: impl Future) -> bool {
    Box::pin(future).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Waits for all of these at once.
async fn join<F: Future>(futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    poll_fn(|context| {
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        let is_done = futures.iter().all(|(_, output)| output.is_some());
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}
