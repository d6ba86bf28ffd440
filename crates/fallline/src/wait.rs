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
        if let Some(Err(lost)) = this.waits_for.as_ref().map(turn) {
            this.shared.finish(Err(lost));
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
            let wait = move || {
                if let Err(lost) = native::wait(&device, || shared.lock().value.is_some()) {
                    shared.finish(Err(lost));
                }
            };
            if std::thread::Builder::new().name("fallline wait".into()).spawn(wait).is_err() {
                let message = "the system gives no thread".into();
                return Poll::Ready(Err(Error::Gpu { what: "wait".into(), message }));
            }
        }
        Poll::Pending
    }
}

/// Runs the callbacks that are due, and waits for nothing.
///
/// # Errors
/// [`Error::DeviceLost`], where the driver says so now.
pub(crate) fn turn(device: &wgpu::Device) -> Result<()> {
    #[cfg(not(target_family = "wasm"))]
    return native::turn(device);
    #[cfg(target_family = "wasm")]
    {
        let _ = device;
        Ok(())
    }
}

#[cfg(not(target_family = "wasm"))]
#[allow(clippy::disallowed_methods, reason = "this and `shell` are where polling belongs")]
pub(crate) mod native {
    use std::time::Duration;

    use wgpu::{PollError, PollStatus};

    use crate::Result;

    type Polled = std::result::Result<PollStatus, PollError>;

    /// wgpu 30 panics where a driver reports a lost device to `poll`. It keeps the callbacks then and never runs them: who
    /// waits for one must be told.
    fn caught(poll: impl FnOnce() -> Polled) -> Result<Polled> {
        crate::caught::caught("wait", poll)
    }

    pub(super) fn turn(device: &wgpu::Device) -> Result<()> {
        caught(|| device.poll(wgpu::PollType::Poll)).map(|_| ())
    }

    /// Waits for the GPU until this is so, or there is nothing to wait for. In slices: while one lasts,
    /// `Buffer::destroy` in another thread stands still.
    pub(crate) fn wait(device: &wgpu::Device, is_done: impl Fn() -> bool) -> Result<()> {
        let timeout = Some(Duration::from_millis(100));
        poll_until(is_done, || {
            device.poll(wgpu::PollType::Wait { submission_index: None, timeout })
        })
    }

    fn poll_until(is_done: impl Fn() -> bool, poll: impl Fn() -> Polled) -> Result<()> {
        while !is_done() {
            if !matches!(caught(&poll)?, Err(PollError::Timeout)) {
                // Done, and the callbacks have run or run now in a thread that polled too.
                return Ok(());
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use std::cell::Cell;

        use super::*;
        use crate::Error;

        #[test]
        fn a_poll_that_panics_is_a_lost_device() {
            let polls = Cell::new(0);
            let third = |then: fn() -> Polled| {
                polls.set(0);
                poll_until(
                    || false,
                    || {
                        polls.set(polls.get() + 1);
                        if polls.get() < 3 { Err(PollError::Timeout) } else { then() }
                    },
                )
            };
            let lost = third(|| panic!("Error in Device::poll: Parent device is lost"));
            assert!(matches!(lost, Err(Error::DeviceLost)), "{lost:?}");
            assert!(third(|| Ok(PollStatus::QueueEmpty)).is_ok());
            assert_eq!(polls.get(), 3);
            assert!(poll_until(|| true, || panic!("nothing to wait for")).is_ok());
        }
    }
}
