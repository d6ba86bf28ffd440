//! How long steps take.

use std::time::{Duration, Instant};

use crate::{Contender, Result, count, models::Stack};

/// What was measured of one optimizer, in ms, step by step.
#[derive(Default)]
pub(crate) struct Times {
    returned: Vec<f64>,
    done: Vec<f64>,
}

/// Median and quartiles.
fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [2, 1, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn in_words([median, lower, upper]: [f64; 3]) -> String {
    format!("{median:.3} [{lower:.3} to {upper:.3}]")
}

impl Times {
    pub(crate) fn push(&mut self, returned: Duration, done: Duration) {
        self.returned.push(returned.as_secs_f64() * 1e3);
        self.done.push(done.as_secs_f64() * 1e3);
    }

    pub(crate) fn show(&self, name: &str) {
        let of = |times: &Vec<f64>| in_words(quartiles(times.iter().copied()));
        println!(
            "  {name:<10} returns after {} ms, done after {} ms",
            of(&self.returned),
            of(&self.done)
        );
    }

    /// As parts of what another took in the same round: what else the machine does is in both.
    pub(crate) fn show_beside(&self, name: &str, other: &Self) {
        let parts = |ours: &Vec<f64>, theirs: &Vec<f64>| {
            in_words(quartiles(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs)))
        };
        let (returned, done) =
            (parts(&self.returned, &other.returned), parts(&self.done, &other.done));
        println!(
            "  {name:<10} beside Burn: returns after {returned} of it, done after {done} of it"
        );
    }
}

/// A step that was taken.
pub(crate) struct Stepped {
    pub(crate) module: Stack,
    pub(crate) returned: Duration,
    pub(crate) done: Duration,
    /// What wgpu was asked for, if that was counted.
    pub(crate) counted: String,
}

pub(crate) fn step(
    contender: &mut Contender,
    module: Stack,
    step: usize,
    counts: bool,
) -> Result<Stepped> {
    let device = module.device();
    let grads = module.grads(step);
    device.sync()?;
    if counts {
        count::begin();
    }
    let start = Instant::now();
    let module = contender.step(module, grads);
    let returned = start.elapsed();
    device.sync()?;
    let done = start.elapsed();
    let counted = if counts { count::end() } else { String::new() };
    Ok(Stepped { module, returned, done, counted })
}
