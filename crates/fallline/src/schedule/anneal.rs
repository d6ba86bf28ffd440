use std::f64::consts::PI;

/// How a value goes from a start to an end.
///
/// ```
/// use fallline::schedule::{Anneal, OneCycle};
///
/// let schedule = OneCycle::new(0.1, 1000).anneal_strategy(Anneal::Linear);
/// # let _ = schedule;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Anneal {
    /// By half a cosine.
    #[default]
    Cos,
    /// Linearly.
    Linear,
}

impl Anneal {
    /// How much of the end is in it at a part of the way.
    pub(super) fn weight(self, part: f64) -> f64 {
        match self {
            Self::Cos => (1.0 - (PI * part).cos()) / 2.0,
            Self::Linear => part,
        }
    }

    pub(super) fn between(self, start: f64, end: f64, part: f64) -> f64 {
        // Exact at either end.
        match part {
            0.0 => start,
            1.0 => end,
            _ => start + (end - start) * self.weight(part),
        }
    }
}
