//! What waits is a future that makes progress by itself: under a ten-line executor, under tokio, dropped in
//! the middle.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use fallline::{
    BlockSpec, Dtype, Error, Gpu, GpuOptions, Group, LossScaler, Optimizer, Options, Quantizer,
    Sgd, StateFormat, Step, TensorId, TensorSpec,
};

use crate::common::{gpu, specs};

const ID: TensorId = TensorId::new(0);

/// A ten-line executor: it knows nothing of GPUs and polls no device.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Everything that waits, once.
async fn everything() -> Result<(), Error> {
    let gpu = Gpu::request(&GpuOptions::from_env()?).await?;
    assert!(!fallline::request_adapters(fallline::wgpu::Backends::all()).await.is_empty());
    let scaler = LossScaler::fixed(&gpu, 4.0)?;
    let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
    let groups = [Group::new("all", Sgd::new().lr(1.0).momentum(0.5))];
    let tensors = [TensorSpec::new("t", [301]).dtype(Dtype::Bf16)];
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &tensors, &options)?;
    optimizer.store_param(ID, &[1.0; 301]).await?;
    optimizer.store_grad(ID, &[2.0; 301]).await?;
    optimizer.store_state(ID, "momentum_buffer", &[3.0; 301]).await?;
    optimizer.write_step(ID, 1)?;
    optimizer.step(&Step::new())?;
    gpu.settle().await?;
    assert_eq!(optimizer.fetch_param(ID).await?, [-1.0; 301]);
    assert_eq!(optimizer.fetch_master(ID).await?, [-1.0; 301]);
    assert_eq!(optimizer.fetch_grad(ID).await?, [2.0; 301]);
    assert_eq!(optimizer.fetch_state(ID, "momentum_buffer").await?, [2.0; 301]);
    assert_eq!(optimizer.fetch_steps().await?, [2]);
    assert_eq!(optimizer.fetch_reports().await?.len(), 1);
    assert_eq!(scaler.fetch().await?.0, 4.0);
    let quantizer = Quantizer::arena(&gpu, &[BlockSpec::new("v", 300, StateFormat::Int8)])?;
    quantizer.store_values(ID, &[0.0; 300]).await?;
    assert_eq!(quantizer.fetch_values(ID).await?, [0.0; 300]);
    assert_eq!(quantizer.fetch_blocks(ID).await?.len(), 520);
    Ok(())
}

#[test]
fn futures_progress_under_a_ten_line_executor() {
    block_on(everything()).unwrap();
}

#[test]
fn futures_progress_under_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(everything()).unwrap();
    // And on another thread, which needs them to be Send.
    runtime
        .block_on(async { tokio::task::spawn_blocking(|| block_on(everything())).await })
        .unwrap()
        .unwrap();
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    block_on(is_send(everything())).unwrap();
}

#[test]
fn a_dropped_future_leaves_nothing_that_waits() {
    let gpu = gpu();
    let group = [Group::new("all", Sgd::default())];
    let optimizer = Optimizer::arena(&gpu, &group, &specs(&[100_000])).unwrap();
    for _ in 0..20 {
        let mut fetch = Box::pin(optimizer.fetch_param(ID));
        // Once, and then no more.
        let first = fetch.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop((first, fetch));
    }
    assert_eq!(optimizer.read_param(ID).unwrap().len(), 100_000);
    gpu.wait().unwrap();
}

#[test]
fn several_futures_wait_at_once() {
    let gpu = gpu();
    let group = [Group::new("all", Sgd::default())];
    let optimizer = Optimizer::arena(&gpu, &group, &specs(&[1000, 2000, 3000])).unwrap();
    let fetched = thread::scope(|scope| {
        let fetch = |index| scope.spawn(move || index);
        let threads: Vec<_> = (0..3).map(fetch).collect();
        let ids = threads.into_iter().map(|thread| TensorId::new(thread.join().unwrap()));
        let optimizer = &optimizer;
        let fetches: Vec<_> =
            ids.map(|id| scope.spawn(move || block_on(optimizer.fetch_param(id)))).collect();
        fetches.into_iter().map(|f| f.join().unwrap().unwrap().len()).collect::<Vec<_>>()
    });
    assert_eq!(fetched, [1000, 2000, 3000]);
}

#[test]
fn a_lost_device_ends_every_wait() {
    let gpu = gpu();
    let group = [Group::new("all", Sgd::default())];
    let optimizer = Optimizer::arena(&gpu, &group, &specs(&[1000])).unwrap();
    gpu.device().destroy();
    assert!(matches!(block_on(gpu.settle()), Err(Error::DeviceLost)));
    assert!(block_on(optimizer.fetch_param(ID)).is_err());
}
