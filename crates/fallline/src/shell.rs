//! What waits, for programs with threads: a thin shell over the asynchronous functions, which does not exist
//! in a browser, where waiting would never end.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use wgpu::{Adapter, Backends};

use crate::{
    Gpu, GpuOptions, LoadOptions, LoadSource, LossScaler, Optimizer, Quantizer, Result, SaveSink,
    StepReport, Sums, TensorId, adapters::request_adapters, plan::Plan,
};

/// Waits for a future.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
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

/// All adapters of these backends; [`request_adapters`] that waits.
#[must_use]
pub fn adapters(backends: Backends) -> Vec<Adapter> {
    block_on(request_adapters(backends))
}

impl Gpu {
    /// Opens the adapter that the environment names, or the one that wgpu prefers.
    ///
    /// # Errors
    /// [`Error::UnknownBackend`](crate::Error::UnknownBackend),
    /// [`Error::NoAdapter`](crate::Error::NoAdapter), [`Error::NoDevice`](crate::Error::NoDevice).
    pub fn from_env() -> Result<Self> {
        Self::open(&GpuOptions::from_env()?)
    }

    /// [`request`](Self::request) that waits.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn open(options: &GpuOptions) -> Result<Self> {
        block_on(Self::request(options))
    }

    /// [`settle`](Self::settle) that waits.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn wait(&self) -> Result<()> {
        block_on(self.settle())
    }
}

impl LossScaler {
    /// [`fetch`](Self::fetch) that waits.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn read(&self) -> Result<(f32, u32)> {
        block_on(self.fetch())
    }
}

impl Optimizer {
    /// [`store_param`](Self::store_param) that waits, where that must.
    ///
    /// # Errors
    /// As [`store_param`](Self::store_param).
    pub fn write_param(&self, id: TensorId, values: &[f32]) -> Result<()> {
        block_on(self.store_param(id, values))
    }

    /// [`store_grad`](Self::store_grad) that waits, where that must.
    ///
    /// # Errors
    /// As [`store_grad`](Self::store_grad).
    pub fn write_grad(&self, id: TensorId, values: &[f32]) -> Result<()> {
        block_on(self.store_grad(id, values))
    }

    /// [`store_state`](Self::store_state) that waits.
    ///
    /// # Errors
    /// As [`store_state`](Self::store_state).
    pub fn write_state(&self, id: TensorId, slot: &str, values: &[f32]) -> Result<()> {
        block_on(self.store_state(id, slot, values))
    }

    /// [`fetch_param`](Self::fetch_param) that waits.
    ///
    /// # Errors
    /// As [`fetch_param`](Self::fetch_param).
    pub fn read_param(&self, id: TensorId) -> Result<Vec<f32>> {
        block_on(self.fetch_param(id))
    }

    /// [`fetch_eval`](Self::fetch_eval) that waits.
    ///
    /// # Errors
    /// As [`fetch_eval`](Self::fetch_eval).
    pub fn read_eval(&self, id: TensorId) -> Result<Vec<f32>> {
        block_on(self.fetch_eval(id))
    }

    /// [`fetch_grad`](Self::fetch_grad) that waits.
    ///
    /// # Errors
    /// As [`fetch_grad`](Self::fetch_grad).
    pub fn read_grad(&self, id: TensorId) -> Result<Vec<f32>> {
        block_on(self.fetch_grad(id))
    }

    /// [`fetch_state`](Self::fetch_state) that waits.
    ///
    /// # Errors
    /// As [`fetch_state`](Self::fetch_state).
    pub fn read_state(&self, id: TensorId, slot: &str) -> Result<Vec<f32>> {
        block_on(self.fetch_state(id, slot))
    }

    /// [`fetch_master`](Self::fetch_master) that waits.
    ///
    /// # Errors
    /// As [`fetch_master`](Self::fetch_master).
    pub fn read_master(&self, id: TensorId) -> Result<Vec<f32>> {
        block_on(self.fetch_master(id))
    }

    /// [`fetch_steps`](Self::fetch_steps) that waits.
    ///
    /// # Errors
    /// As [`fetch_steps`](Self::fetch_steps).
    pub fn read_steps(&self) -> Result<Vec<u32>> {
        block_on(self.fetch_steps())
    }

    /// [`fetch_plan`](Self::fetch_plan) that waits.
    ///
    /// # Errors
    /// As [`fetch_plan`](Self::fetch_plan).
    pub fn read_plan(&self) -> Result<Plan> {
        block_on(self.fetch_plan())
    }

    /// [`fetch_sums`](Self::fetch_sums) that waits.
    ///
    /// # Errors
    /// As [`fetch_sums`](Self::fetch_sums).
    pub fn read_sums(&self) -> Result<Sums> {
        block_on(self.fetch_sums())
    }

    /// [`save_to`](Self::save_to) that waits.
    ///
    /// # Errors
    /// As [`save_to`](Self::save_to).
    pub fn save<S: SaveSink + ?Sized>(&self, sink: &mut S) -> Result<()> {
        block_on(self.save_to(sink))
    }

    /// [`load_from`](Self::load_from) that waits, in the formats of this optimizer.
    ///
    /// # Errors
    /// As [`load_from`](Self::load_from).
    pub fn load<S: LoadSource + ?Sized>(&mut self, source: &mut S) -> Result<()> {
        self.load_with(source, LoadOptions::new())
    }

    /// [`load_from`](Self::load_from) that waits.
    ///
    /// # Errors
    /// As [`load_from`](Self::load_from).
    pub fn load_with<S: LoadSource + ?Sized>(
        &mut self,
        source: &mut S,
        options: LoadOptions,
    ) -> Result<()> {
        block_on(self.load_from(source, options))
    }

    /// [`fetch_reports`](Self::fetch_reports) that waits.
    ///
    /// # Errors
    /// As [`fetch_reports`](Self::fetch_reports).
    pub fn wait_reports(&mut self) -> Result<Vec<StepReport>> {
        block_on(self.fetch_reports())
    }
}

impl Quantizer {
    /// [`store_values`](Self::store_values) that waits, where that must.
    ///
    /// # Errors
    /// As [`store_values`](Self::store_values).
    pub fn write_values(&self, id: TensorId, values: &[f32]) -> Result<()> {
        block_on(self.store_values(id, values))
    }

    /// [`fetch_values`](Self::fetch_values) that waits.
    ///
    /// # Errors
    /// As [`fetch_values`](Self::fetch_values).
    pub fn read_values(&self, id: TensorId) -> Result<Vec<f32>> {
        block_on(self.fetch_values(id))
    }

    /// [`fetch_blocks`](Self::fetch_blocks) that waits.
    ///
    /// # Errors
    /// As [`fetch_blocks`](Self::fetch_blocks).
    pub fn read_blocks(&self, id: TensorId) -> Result<Vec<u8>> {
        block_on(self.fetch_blocks(id))
    }
}
