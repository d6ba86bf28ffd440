//! How far the host runs ahead of the GPU.

use std::time::{Duration, Instant};

use fallline::{Gpu, Result};

/// Steps in one submission: enough for the GPU not to wait, fewer than an optimizer takes, and few
/// enough for no report to be lost.
const STEPS_PER_SUBMISSION: u32 = 16;

/// Steps that are under way at most.
const MAX_AHEAD: u32 = 64;

/// For how long the GPU has work: Ctrl-C is answered then.
const AHEAD: Duration = Duration::from_millis(250);

/// Submits so many steps that the GPU does not run out of them, and no more than it does in a moment.
#[derive(Debug)]
pub(super) struct Pace {
    /// As measured; one step until then.
    ahead: u32,
    submitted: u32,
    since: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { ahead: 1, submitted: 0, since: Instant::now() }
    }

    /// How many steps to submit at once.
    pub(super) fn steps(&self) -> u32 {
        self.ahead.min(STEPS_PER_SUBMISSION)
    }

    /// Begins to measure anew: the GPU is idle.
    pub(super) fn restart(&mut self) {
        (self.submitted, self.since) = (0, Instant::now());
    }

    /// So many steps were submitted: waits for them if they are enough, and says whether it did.
    pub(super) fn submitted(&mut self, gpu: &Gpu, steps: u32) -> Result<bool> {
        self.submitted += steps;
        let is_enough = self.submitted >= self.ahead;
        if is_enough {
            gpu.wait()?;
            self.ahead = ahead(self.submitted, self.since.elapsed());
            self.restart();
        }
        Ok(is_enough)
    }
}

/// How many steps take [`AHEAD`], of which some took this long.
fn ahead(steps: u32, took: Duration) -> u32 {
    let ahead = u128::from(steps) * AHEAD.as_micros() / took.as_micros().max(1);
    u32::try_from(ahead).unwrap_or(MAX_AHEAD).clamp(1, MAX_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_steps_are_submitted_one_by_one() {
        assert_eq!(ahead(1, Duration::from_secs(2)), 1);
        assert_eq!(ahead(10, Duration::from_millis(250)), 10);
        assert_eq!(ahead(16, Duration::from_micros(100)), 64);
        assert_eq!(ahead(1, Duration::ZERO), 64);
    }
}
