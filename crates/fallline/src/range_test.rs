//! The learning-rate range test: which rates the loss falls at.

use crate::{
    Error, Optimizer, Result,
    factors::{check, positive},
};

/// A learning-rate range test (Smith, [Cyclical Learning Rates](https://arxiv.org/abs/1506.01186), 2015): some steps
/// with rates that grow geometrically, until the loss is far above its lowest.
///
/// ```text
/// lr_i     = start_lr · (end_lr / start_lr)^(i / (steps - 1))                i = 0, …, steps - 1
/// avg_i    = smoothing · avg_(i-1) + (1 - smoothing) · loss_i,               avg_(-1) = 0
/// smooth_i = avg_i / (1 - smoothing^(i + 1))
/// ends     at the first i > 0 whose smooth_i is above divergence · min smooth, or not a number
/// ```
///
/// The defaults are those of PyTorch Lightning's `lr_find`, but for `end_lr` (there 1): 100 steps from 1e-8 to 1, a
/// smoothing of 0.98, no suggestion among the first 10, and an end at 4 times the lowest loss.
///
/// ```no_run
/// use fallline::{AdamW, Gpu, Group, Optimizer, RangeTest, Step, TensorSpec};
///
/// # fn loss_of_a_batch(_: &Optimizer) -> fallline::Result<f64> { Ok(1.0) }
/// # fn main() -> fallline::Result<()> {
/// let gpu = Gpu::from_env()?;
/// let groups = [Group::new("all", AdamW::new())];
/// let mut optimizer = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("p", [1000])])?;
/// let curve = RangeTest::new().run(&mut optimizer, |optimizer, lr| {
///     let loss = loss_of_a_batch(optimizer)?; // forward, backward, and the loss read back
///     optimizer.step(&Step::lr(lr))?;
///     Ok::<f64, fallline::Error>(loss)
/// })?;
/// // Everything is as it was, and this is where the loss fell fastest.
/// println!("{:?}", curve.suggestion());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct RangeTest {
    /// The first learning rate, finite and > 0.
    pub start_lr: f64,
    /// The last, above the first.
    pub end_lr: f64,
    /// How many steps at most, at least 2.
    pub steps: u32,
    /// The weight of the average's past, in [0, 1).
    pub smoothing: f64,
    /// How many points at the beginning are not suggested: their average is of few losses, and goes by which batches these
    /// are of.
    pub skip_begin: u32,
    /// Above how many times the lowest smoothed loss the test ends, above 1; infinity: at no loss that is a number.
    pub divergence: f64,
}

impl Default for RangeTest {
    fn default() -> Self {
        Self {
            start_lr: 1e-8,
            end_lr: 1.0,
            steps: 100,
            smoothing: 0.98,
            skip_begin: 10,
            divergence: 4.0,
        }
    }
}

impl RangeTest {
    /// With the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the first and the last learning rate.
    #[must_use]
    pub const fn rates(mut self, start_lr: f64, end_lr: f64) -> Self {
        self.start_lr = start_lr;
        self.end_lr = end_lr;
        self
    }

    /// Sets [`steps`](Self#structfield.steps).
    #[must_use]
    pub const fn steps(mut self, steps: u32) -> Self {
        self.steps = steps;
        self
    }

    /// Sets [`smoothing`](Self#structfield.smoothing).
    #[must_use]
    pub const fn smoothing(mut self, smoothing: f64) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// Sets [`skip_begin`](Self#structfield.skip_begin).
    #[must_use]
    pub const fn skip_begin(mut self, skip_begin: u32) -> Self {
        self.skip_begin = skip_begin;
        self
    }

    /// Sets [`divergence`](Self#structfield.divergence).
    #[must_use]
    pub const fn divergence(mut self, divergence: f64) -> Self {
        self.divergence = divergence;
        self
    }

    /// Whether each number is in its range.
    ///
    /// # Errors
    /// [`Error::Factor`] for the first that is not.
    pub fn check(&self) -> Result<()> {
        let name = |what: &str| format!("the range test's {what}");
        check(name("start_lr"), "finite and > 0", self.start_lr, positive(self.start_lr))?;
        let ascends = positive(self.end_lr) && self.end_lr > self.start_lr;
        check(name("end_lr"), "finite and above start_lr", self.end_lr, ascends)?;
        check(name("number of steps"), ">= 2", f64::from(self.steps), self.steps >= 2)?;
        let is_part = (0.0..1.0).contains(&self.smoothing);
        check(name("smoothing"), "in [0, 1)", self.smoothing, is_part)?;
        check(name("divergence"), "above 1", self.divergence, self.divergence > 1.0)
    }

    /// The learning rate of step `i`, counted from 0.
    #[must_use]
    pub fn lr(&self, i: u32) -> f64 {
        let part = f64::from(i) / f64::from(self.steps - 1);
        // The ends are exact.
        match i + 1 {
            1 => self.start_lr,
            last if last == self.steps => self.end_lr,
            _ => self.start_lr * (self.end_lr / self.start_lr).powf(part),
        }
    }

    /// Runs the test. `step` trains one batch with a learning rate and gives its loss, as it was before the step.
    /// Afterwards, and also if it failed, the optimizer is what it was: see [`Optimizer::restore`].
    ///
    /// Reading a loss back may have to be awaited: then take a [`snapshot`](Optimizer::snapshot), step with each
    /// [`lr`](Self::lr) as long as [`RangeCurve::push`] says so, and restore.
    ///
    /// # Errors
    /// What `step` gives; as [`check`](Self::check), [`Optimizer::snapshot`] and [`Optimizer::restore`].
    pub fn run<E: From<Error>>(
        &self,
        optimizer: &mut Optimizer,
        mut step: impl FnMut(&mut Optimizer, f64) -> std::result::Result<f64, E>,
    ) -> std::result::Result<RangeCurve, E> {
        self.check()?;
        let snapshot = optimizer.snapshot()?;
        let mut curve = RangeCurve::new(*self);
        let ran = (0..self.steps).try_for_each(|i| {
            let lr = self.lr(i);
            match step(optimizer, lr) {
                Ok(loss) if curve.push(lr, loss) => Ok(()),
                Ok(_) => Err(None),
                Err(error) => Err(Some(error)),
            }
        });
        optimizer.restore(&snapshot)?;
        match ran {
            Ok(()) | Err(None) => Ok(curve),
            Err(Some(error)) => Err(error),
        }
    }
}

/// A step of a [`RangeTest`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RangePoint {
    /// The learning rate of the step.
    pub lr: f64,
    /// The loss of its batch, before it.
    pub loss: f64,
    /// The running average of losses.
    pub smoothed: f64,
}

/// The losses of a [`RangeTest`].
#[derive(Clone, Debug, PartialEq)]
pub struct RangeCurve {
    test: RangeTest,
    points: Vec<RangePoint>,
    average: f64,
    lowest: f64,
}

impl RangeCurve {
    /// One without points.
    #[must_use]
    pub const fn new(test: RangeTest) -> Self {
        Self { test, points: Vec::new(), average: 0.0, lowest: f64::INFINITY }
    }

    /// Adds a step, and says whether the test goes on.
    pub fn push(&mut self, lr: f64, loss: f64) -> bool {
        let smoothing = self.test.smoothing;
        self.average = smoothing * self.average + (1.0 - smoothing) * loss;
        let count = i32::try_from(self.points.len() + 1).unwrap_or(i32::MAX);
        let smoothed = self.average / (1.0 - smoothing.powi(count));
        let is_first = self.points.is_empty();
        self.points.push(RangePoint { lr, loss, smoothed });
        self.lowest = self.lowest.min(smoothed);
        // Losses below 0 have no multiple that is above them.
        let limit = self.lowest + (self.test.divergence - 1.0) * self.lowest.abs();
        smoothed.is_finite() && (is_first || smoothed <= limit)
    }

    /// The steps in order; the last may be that at which the test ended.
    #[must_use]
    pub fn points(&self) -> &[RangePoint] {
        &self.points
    }

    /// The learning rate at which the smoothed loss falls most steeply over the logarithm of the rate, by central
    /// differences, behind the first points ([`RangeTest::skip_begin`]) and up to its lowest. `None` if it falls nowhere
    /// there, or there are fewer than three points. (An order of magnitude, and the more so the noisier the losses are.)
    #[must_use]
    pub fn suggestion(&self) -> Option<f64> {
        let skip_begin = usize::try_from(self.test.skip_begin).unwrap_or(usize::MAX);
        let settled = self.points.iter().skip(skip_begin);
        let finite = settled.take_while(|point| point.smoothed.is_finite());
        let finite: Vec<RangePoint> = finite.copied().collect();
        let lowest =
            (0..finite.len()).min_by(|a, b| finite[*a].smoothed.total_cmp(&finite[*b].smoothed))?;
        let slope = |i: usize| {
            let (before, behind) = (&finite[i - 1], &finite[i + 1]);
            (behind.smoothed - before.smoothed) / (behind.lr / before.lr).ln()
        };
        let inner = 1..lowest.min(finite.len().saturating_sub(1));
        let steepest = inner.min_by(|a, b| slope(*a).total_cmp(&slope(*b)))?;
        (slope(steepest) < 0.0).then(|| finite[steepest].lr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_geometric_from_end_to_end() {
        let test = RangeTest::new().rates(1e-4, 1.0).steps(5);
        let rates: Vec<f64> = (0..5).map(|i| test.lr(i)).collect();
        for (rate, expected) in rates.iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!((rates[0], rates[4]), (1e-4, 1.0));
    }

    #[test]
    fn the_suggestion_is_where_the_loss_falls_fastest() {
        let test = RangeTest::new().rates(1e-5, 10.0).steps(61).smoothing(0.0).skip_begin(1);
        let mut curve = RangeCurve::new(test);
        assert_eq!(curve.suggestion(), None);
        for i in 0..61 {
            let lr = test.lr(i);
            // A step down around 1e-2, and a wall behind 1; the first batch is a hard one.
            let loss = f64::from(u8::from(i == 0))
                + 1.0 / (1.0 + (lr / 1e-2).powi(2))
                + 0.1
                + (lr / 2.0).powi(4);
            if !curve.push(lr, loss) {
                break;
            }
        }
        let suggestion = curve.suggestion().expect("it falls");
        assert!((0.5e-2..2e-2).contains(&suggestion), "{suggestion}");
        let last = curve.points().last().expect("there are some");
        assert!(last.lr > 1.0 && curve.points().len() < 61, "{last:?}");
    }

    #[test]
    fn smoothing_has_no_bias_and_a_rising_loss_no_suggestion() {
        let mut curve = RangeCurve::new(RangeTest::new());
        for i in 0..10 {
            assert!(curve.push(f64::from(i + 1), 3.0));
        }
        assert!(curve.points().iter().all(|point| (point.smoothed - 3.0).abs() < 1e-12));
        let mut rising = RangeCurve::new(RangeTest::new().smoothing(0.0).skip_begin(0));
        for i in 1..5 {
            rising.push(f64::from(i), f64::from(i));
        }
        assert_eq!(rising.suggestion(), None);
        assert!(!rising.push(5.0, 4.1));
        assert!(!RangeCurve::new(RangeTest::new()).push(1.0, f64::NAN));
        // A loss below 0 diverges upwards too.
        let mut negative = RangeCurve::new(RangeTest::new().smoothing(0.0));
        assert!(negative.push(1.0, -1.0) && negative.push(2.0, 1.9) && !negative.push(3.0, 2.1));
    }

    #[test]
    fn nonsense_is_named() {
        let message = |test: RangeTest| test.check().unwrap_err().to_string();
        for (test, expected) in [
            (RangeTest::new().rates(0.0, 1.0), "start_lr"),
            (RangeTest::new().rates(1.0, 1.0), "end_lr"),
            (RangeTest::new().rates(1.0, f64::INFINITY), "end_lr"),
            (RangeTest::new().steps(1), "number of steps"),
            (RangeTest::new().smoothing(1.0), "smoothing"),
            (RangeTest::new().divergence(f64::NAN), "divergence"),
        ] {
            assert!(message(test).contains(expected), "{}", message(test));
        }
    }
}
