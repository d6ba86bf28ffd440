//! Futures of what the GPU calls back about.
//!
//! Natively no callback runs unless somebody polls the device: who waits here needs no event loop for that. A
//! future that is not ready at first starts a thread that waits for the GPU and ends with it, so it makes
//! progress under any executor. In a browser callbacks come by themselves.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{Error, Result};

/// What a callback gives.
#[derive(Debug)]
pub(crate) struct Callback<T> {
    shared: Arc<Shared<T>>,
    /// Until somebody waits.
    #[cfg(not(target_family = "wasm"))]
    waits_for: Option<wgpu::Device>,
}

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    value: Option<Result<T>>,
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes first counts. Wakes with nothing locked: a waker may poll at once.
    fn finish(&self, value: Result<T>) {
        let mut state = self.lock();
        if state.value.is_none() {
            state.value = Some(value);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Ends the future also where wgpu drops the callback without a call.
struct Completer<T>(Arc<Shared<T>>);

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if self.0.lock().value.is_none() {
            self.0.finish(Err(Error::DeviceLost));
        }
    }
}

impl<T: Send + 'static> Callback<T> {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        #[cfg(target_family = "wasm")]
        let _ = device;
        Self {
            shared: Arc::new(Shared(Mutex::new(State { value: None, waker: None }))),
            #[cfg(not(target_family = "wasm"))]
            waits_for: Some(device.clone()),
        }
    }

    /// What wgpu calls back.
    pub(crate) fn completer(&self) -> impl FnOnce(T) + Send + 'static + use<T> {
        let completer = Completer(Arc::clone(&self.shared));
        move |value| completer.0.finish(Ok(value))
    }
}

impl<T: Send + 'static> Future for Callback<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        #[cfg(not(target_family = "wasm"))]
        if let Some(device) = &this.waits_for {
            turn(device);
        }
        {
            let mut state = this.shared.lock();
            if let Some(value) = state.value.take() {
                return Poll::Ready(value);
            }
            state.waker = Some(context.waker().clone());
        }
        #[cfg(not(target_family = "wasm"))]
        if let Some(device) = this.waits_for.take() {
            let shared = Arc::clone(&this.shared);
            let wait = move || native::wait(&device, || shared.lock().value.is_some());
            if std::thread::Builder::new().name("fallline wait".into()).spawn(wait).is_err() {
                let message = "the system gives no thread".into();
                return Poll::Ready(Err(Error::Gpu { what: "wait".into(), message }));
            }
        }
        Poll::Pending
    }
}

/// Runs the callbacks that are due, and waits for nothing.
pub(crate) fn turn(device: &wgpu::Device) {
    #[cfg(not(target_family = "wasm"))]
    native::turn(device);
    #[cfg(target_family = "wasm")]
    let _ = device;
}

#[cfg(not(target_family = "wasm"))]
#[allow(clippy::disallowed_methods, reason = "this and `shell` are where polling belongs")]
pub(crate) mod native {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        time::Duration,
    };

    /// wgpu 30 panics where a driver reports a lost device to `poll`, with every lock let go; then callbacks
    /// are dropped, which ends who waits for them.
    fn poll(device: &wgpu::Device, how: wgpu::PollType) -> Option<wgpu::PollStatus> {
        catch_unwind(AssertUnwindSafe(|| device.poll(how).ok())).ok().flatten()
    }

    pub(crate) fn turn(device: &wgpu::Device) {
        poll(device, wgpu::PollType::Poll);
    }

    /// Waits for the GPU until this is so, or there is nothing to wait for. In slices: while one lasts,
    /// `Buffer::destroy` in another thread stands still.
    pub(crate) fn wait(device: &wgpu::Device, is_done: impl Fn() -> bool) {
        while !is_done() {
            let timeout = Some(Duration::from_millis(100));
            let slice = wgpu::PollType::Wait { submission_index: None, timeout };
            let waited = catch_unwind(AssertUnwindSafe(|| device.poll(slice)));
            if !matches!(waited, Ok(Err(wgpu::PollError::Timeout))) {
                // Done, and the callbacks have run or run now in a thread that polled too; or lost.
                return;
            }
        }
    }
}
