//! With which status a command ends: 0 if all is well, 1 if its work or a comparison failed, 2 if it was
//! called wrongly, which clap finds out for single options.

use std::fmt;

/// Marks an error as a wrong usage: options, a config or a variable that mean nothing or contradict
/// each other.
#[derive(Debug)]
struct WrongUsage;

impl fmt::Display for WrongUsage {
    /// The error says it all.
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// This error, as one of wrong usage.
pub(crate) fn usage(error: anyhow::Error) -> anyhow::Error {
    error.context(WrongUsage)
}

/// The status for a command that failed.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    use fallline::Error::{
        Factor, GroupOption, Hyperparameter, Precision, TooManyHyperparameters, UnknownBackend,
    };
    let in_config = matches!(
        error.downcast_ref(),
        Some(
            Factor { .. }
                | GroupOption { .. }
                | Hyperparameter { .. }
                | Precision { .. }
                | TooManyHyperparameters { .. }
                | UnknownBackend { .. }
        )
    );
    if in_config || error.is::<WrongUsage>() { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;
    use crate::print;

    #[test]
    fn wrong_usage_shows_in_the_status_alone() {
        let error = || anyhow!("two options").context("a config");
        assert_eq!(status(&error()), 1);
        let marked = Err::<(), _>(usage(error())).context("a file").expect_err("it is one");
        assert_eq!(status(&marked), 2);
        assert_eq!(print::message(&marked), "a file: a config: two options");
        assert_eq!(print::message(&usage(error())), "a config: two options");
        let engine = fallline::Error::UnknownBackend { found: "x".into(), known: "y" };
        assert_eq!(status(&anyhow::Error::new(engine).context("here")), 2);
        assert_eq!(status(&fallline::Error::DeviceLost.into()), 1);
    }
}
