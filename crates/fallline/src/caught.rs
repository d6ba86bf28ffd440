//! Panics of wgpu's as errors.
//!
//! wgpu 30 panics at some failures of a driver: where memory runs out while it begins to record a queue's writes, say, or
//! where `poll` is the first to hear of a lost device. It has let go of its locks then, and can be used on, or dropped.
//! What was wrong it tells in words alone.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::{Error, Result};

/// What Vulkan, wgpu's layers and their panics call it when memory has run out.
const NO_MEMORY: [&str; 4] =
    ["Not enough memory", "OutOfMemory", "OUT_OF_HOST_MEMORY", "OUT_OF_DEVICE_MEMORY"];

/// The same of a device that is lost.
const LOST: [&str; 3] = ["device is lost", "Device lost", "DEVICE_LOST"];

/// What the call gives; its panic is an error of this work.
pub(crate) fn caught<T>(what: &str, call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| error(what, &*panic))
}

/// The same of a future.
pub(crate) async fn caught_in<F: Future>(what: &str, future: F) -> Result<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match caught(what, || future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

fn error(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let message = text.unwrap_or("a panic without a message").trim().to_owned();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let what = what.to_owned();
    if says(&LOST) {
        Error::DeviceLost
    } else if says(&NO_MEMORY) {
        Error::OutOfMemory { what, size_bytes: None }
    } else {
        Error::Gpu { what, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_error_that_it_tells_of() {
        assert!(matches!(caught("work", || 7), Ok(7)));
        let lost = caught("work", || panic!("Error in Device::poll:\n  Parent device is lost\n"));
        assert!(matches!(lost, Err(Error::DeviceLost)), "{lost:?}");
        let memory = caught("work", || panic!("called `Result::unwrap()` on: OutOfMemory"));
        assert!(
            matches!(memory, Err(Error::OutOfMemory { ref what, .. }) if what == "work"),
            "{memory:?}"
        );
        let other = caught("work", || assert_ne!(1, 1)).unwrap_err().to_string();
        assert!(other.starts_with("the GPU refused work: assertion"), "{other}");
        let late = async { panic!("Not enough memory left.") };
        let late: Result<()> = crate::shell::block_on(caught_in("work", late));
        assert!(matches!(late, Err(Error::OutOfMemory { .. })), "{late:?}");
    }
}
