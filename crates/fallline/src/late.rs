//! Errors that come after the call that caused them.
//!
//! Natively the answer of an error scope is there at once. In a browser it comes with a later turn of the
//! event loop: until then it is kept here.

use std::{
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{Error, Result};

/// What a call's error scopes answer.
#[cfg(not(target_family = "wasm"))]
pub(crate) type Answer = Pin<Box<dyn Future<Output = Option<Error>> + Send>>;
#[cfg(target_family = "wasm")]
pub(crate) type Answer = Pin<Box<dyn Future<Output = Option<Error>>>>;

/// Answers that are still to come.
#[derive(Default)]
pub(crate) struct Late(Mutex<VecDeque<Answer>>);

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Late({})", self.answers().len())
    }
}

impl Late {
    fn answers(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first error of an earlier call that has arrived meanwhile. Answers arrive in the order of their calls.
    pub(crate) fn arrived(&self) -> Result<()> {
        let mut answers = self.answers();
        while let Some(answer) = answers.front_mut() {
            let Poll::Ready(error) = now(answer.as_mut()) else { return Ok(()) };
            answers.pop_front();
            if let Some(error) = error {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The error if the answer is there; else keeps the answer.
    pub(crate) fn take_or_keep(&self, mut answer: Answer) -> Result<()> {
        match now(answer.as_mut()) {
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(error)) => Err(error),
            Poll::Pending => {
                self.answers().push_back(answer);
                Ok(())
            }
        }
    }

    fn take_first(&self) -> Option<Answer> {
        self.answers().pop_front()
    }

    /// Waits for all answers; the first error.
    pub(crate) async fn settle(&self) -> Result<()> {
        let mut first = Ok(());
        loop {
            // Taken out, since nothing may be locked while this waits.
            let Some(answer) = self.take_first() else { return first };
            if let (Some(error), true) = (answer.await, first.is_ok()) {
                first = Err(error);
            }
        }
    }
}

/// What a future has by now.
fn now<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(what: &str) -> Error {
        Error::Gpu { what: what.into(), message: "late".into() }
    }

    /// Comes with the n-th look at it.
    fn nth(n: u32, what: Option<&'static str>) -> Answer {
        let mut looks = 0;
        Box::pin(std::future::poll_fn(move |context| {
            looks += 1;
            context.waker().wake_by_ref();
            if looks < n { Poll::Pending } else { Poll::Ready(what.map(error)) }
        }))
    }

    fn message(result: Result<()>) -> String {
        result.map_or_else(|error| error.to_string(), |()| "none".into())
    }

    #[test]
    fn a_late_error_comes_out_once_and_names_its_call() {
        let late = Late::default();
        assert!(late.take_or_keep(nth(1, None)).is_ok());
        assert_eq!(message(late.take_or_keep(nth(1, Some("now")))), "the GPU refused now: late");
        assert!(late.take_or_keep(nth(3, Some("first"))).is_ok());
        assert!(late.take_or_keep(nth(9, Some("second"))).is_ok());
        assert!(late.take_or_keep(nth(9, None)).is_ok());
        // The second look at it, and the third.
        assert!(late.arrived().is_ok());
        assert_eq!(message(late.arrived()), "the GPU refused first: late");
        assert!(late.arrived().is_ok());
        let settled = crate::shell::block_on(late.settle());
        assert_eq!(message(settled), "the GPU refused second: late");
        assert!(crate::shell::block_on(late.settle()).is_ok());
        assert_eq!(format!("{late:?}"), "Late(0)");
    }
}
