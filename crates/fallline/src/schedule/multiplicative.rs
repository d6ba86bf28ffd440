use super::Schedule;

/// The rate multiplied in every step by what a function of it gives.
///
/// ```text
/// lr(t) = base · f(1) · … · f(t)
/// ```
///
/// A rate takes t products to find.
///
/// Source: `torch.optim.lr_scheduler.MultiplicativeLR`. In a [`Sequential`](super::Sequential) it begins with the base as
/// the others do. (torch's goes on from whatever rate it finds there.)
///
/// ```
/// use fallline::schedule::{Multiplicative, Schedule};
///
/// let schedule = Multiplicative::new(|t| if t == 10 { 0.5 } else { 1.0 });
/// assert_eq!(schedule.lr(0.1, 9), 0.1);
/// assert_eq!(schedule.lr(0.1, 11), 0.05);
/// ```
#[derive(Clone)]
pub struct Multiplicative<F> {
    factor: F,
}

impl<F: Fn(u64) -> f64> Multiplicative<F> {
    /// With the function that gives the factor of each step, from step 1 on.
    #[must_use]
    pub const fn new(factor: F) -> Self {
        Self { factor }
    }
}

impl<F> std::fmt::Debug for Multiplicative<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Multiplicative")
    }
}

impl<F: Fn(u64) -> f64 + Send + Sync> Schedule for Multiplicative<F> {
    fn lr(&self, base: f64, t: u64) -> f64 {
        (1..=t).fold(base, |lr, t| lr * (self.factor)(t))
    }

    fn chained_lr(&self, _: usize, found: f64, _: f64, t: u64) -> f64 {
        if t == 0 { found } else { found * (self.factor)(t) }
    }
}
