//! Errors that come after the call that caused them.
//!
//! Natively the answer of an error scope is there at once. In a browser it comes with a later turn of the
//! event loop: until then it is kept here.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{Error, Result};

/// The answer of a call's error scopes.
#[cfg(not(target_family = "wasm"))]
type Answer = Pin<Box<dyn Future<Output = Option<Error>> + Send>>;
#[cfg(target_family = "wasm")]
type Answer = Pin<Box<dyn Future<Output = Option<Error>>>>;

/// Answers that are still to come.
#[derive(Default)]
pub(crate) struct Late(Mutex<Vec<Answer>>);

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Late({})", self.answers().len())
    }
}

impl Late {
    fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error if the answer is there; else keeps the answer, and gives the first error of an earlier call
    /// that has come meanwhile.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn take_or_keep(
        &self,
        answer: impl Future<Output = Option<Error>> + Send + 'static,
    ) -> Result<()> {
        self.take_or_keep_boxed(Box::pin(answer))
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn take_or_keep(
        &self,
        answer: impl Future<Output = Option<Error>> + 'static,
    ) -> Result<()> {
        self.take_or_keep_boxed(Box::pin(answer))
    }

    fn take_or_keep_boxed(&self, mut answer: Answer) -> Result<()> {
        match now(answer.as_mut()) {
            Poll::Ready(None) => return Ok(()),
            Poll::Ready(Some(error)) => return Err(error),
            Poll::Pending => self.answers().push(answer),
        }
        let mut first = Ok(());
        self.answers().retain_mut(|answer| {
            if first.is_err() {
                return true;
            }
            let answered = now(answer.as_mut());
            if let Poll::Ready(Some(error)) = answered {
                first = Err(error);
                return false;
            }
            answered.is_pending()
        });
        first
    }

    /// Waits for all answers; the first error.
    pub(crate) async fn settle(&self) -> Result<()> {
        let mut first = Ok(());
        loop {
            // Taken out, since nothing may be locked while this waits.
            let Some(answer) = take_first(&mut self.answers()) else { return first };
            if let (Some(error), true) = (answer.await, first.is_ok()) {
                first = Err(error);
            }
        }
    }
}

fn take_first(answers: &mut Vec<Answer>) -> Option<Answer> {
    if answers.is_empty() { None } else { Some(answers.remove(0)) }
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
    fn nth(n: u32, what: Option<&'static str>) -> impl Future<Output = Option<Error>> {
        let mut looks = 0;
        std::future::poll_fn(move |context| {
            looks += 1;
            context.waker().wake_by_ref();
            if looks < n { Poll::Pending } else { Poll::Ready(what.map(error)) }
        })
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
        // The second look at it is that of the next call that must wait.
        assert_eq!(
            message(late.take_or_keep(nth(9, Some("second")))),
            "the GPU refused first: late"
        );
        assert!(late.take_or_keep(nth(9, None)).is_ok());
        let settled = crate::shell::block_on(late.settle());
        assert_eq!(message(settled), "the GPU refused second: late");
        assert!(crate::shell::block_on(late.settle()).is_ok());
        assert_eq!(format!("{late:?}"), "Late(0)");
    }
}
