use std::f64::consts::PI;

use super::{
    Schedule,
    cosine_with_warmup::{default_num_cycles, wave},
    option,
};
use crate::Result;

/// A warm-up, a stretch at the base, and a decay at the end, after which the rate stays: WSD, or a trapezoid.
///
/// ```text
/// lr(t) = base · (r + (1 - r) · up(t / w))           for t < w
///         base                                       for num_stable_steps
///         base · (r + (1 - r) · down(part of d))     for d steps
///         base · r                                   after these
/// ```
///
/// w is `num_warmup_steps`, d `num_decay_steps` and r `min_lr_ratio`. The shapes, of a part x of the phase:
///
/// ```text
/// linear    up = x               down = 1 - x
/// cosine    up = (1 - cos πx)/2  down = (1 + cos(2π · num_cycles · x))/2
/// 1-sqrt    up = 1 - √(1 - x)    down = 1 - √x
/// ```
///
/// Source: Hu et al., *MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies*, 2024,
/// section 4; Hägele et al., *Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations*, 2024, for 1-sqrt;
/// transformers' `get_wsd_schedule`, which begins the decay in its middle where warm-up and decay are longer than the
/// training: here that is an error.
///
/// ```
/// use fallline::schedule::{Schedule, WarmupShape, WarmupStableDecay};
///
/// let schedule = WarmupStableDecay::new(200)
///     .num_warmup_steps(100)
///     .num_training_steps(1000)
///     .decay_type(WarmupShape::OneMinusSqrt);
/// assert_eq!(schedule.lr(0.1, 50), 0.05);
/// assert_eq!(schedule.lr(0.1, 800), 0.1);
/// assert_eq!(schedule.lr(0.1, 850), 0.05);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct WarmupStableDecay {
    /// Steps of the warm-up. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_warmup_steps: u64,
    /// Steps of the decay.
    pub num_decay_steps: u64,
    /// All steps. Either this or the next is given.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_training_steps: Option<u64>,
    /// Steps at the base.
    #[cfg_attr(feature = "serde", serde(default))]
    pub num_stable_steps: Option<u64>,
    /// The shape of the warm-up. Default: linear.
    #[cfg_attr(feature = "serde", serde(default = "default_warmup_type"))]
    pub warmup_type: WarmupShape,
    /// The shape of the decay. Default: a cosine.
    #[cfg_attr(feature = "serde", serde(default = "default_decay_type"))]
    pub decay_type: WarmupShape,
    /// The first rate, if there is a warm-up, and the last, as a part of the base, in [0, 1]. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub min_lr_ratio: f64,
    /// Waves of a decay by a cosine, finite and >= 0. Default: 1/2.
    #[cfg_attr(feature = "serde", serde(default = "default_num_cycles"))]
    pub num_cycles: f64,
}

/// The shape of a phase of [`WarmupStableDecay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WarmupShape {
    /// A line.
    #[cfg_attr(feature = "serde", serde(rename = "linear"))]
    Linear,
    /// Half a cosine.
    #[cfg_attr(feature = "serde", serde(rename = "cosine"))]
    Cosine,
    /// One minus the square root of what is over (of what is left, in a warm-up).
    #[cfg_attr(feature = "serde", serde(rename = "1-sqrt"))]
    OneMinusSqrt,
}

/// transformers'.
fn default_warmup_type() -> WarmupShape {
    WarmupShape::Linear
}

/// transformers'.
fn default_decay_type() -> WarmupShape {
    WarmupShape::Cosine
}

impl WarmupStableDecay {
    /// Without a warm-up, and with transformers' defaults;
    /// [`num_training_steps`](Self::num_training_steps) or [`num_stable_steps`](Self::num_stable_steps) must follow.
    #[must_use]
    pub fn new(num_decay_steps: u64) -> Self {
        Self {
            num_warmup_steps: 0,
            num_decay_steps,
            num_training_steps: None,
            num_stable_steps: None,
            warmup_type: default_warmup_type(),
            decay_type: default_decay_type(),
            min_lr_ratio: 0.0,
            num_cycles: default_num_cycles(),
        }
    }

    /// Sets [`num_training_steps`](Self#structfield.num_training_steps).
    #[must_use]
    pub fn num_training_steps(mut self, steps: u64) -> Self {
        self.num_training_steps = Some(steps);
        self
    }

    /// Sets [`num_stable_steps`](Self#structfield.num_stable_steps).
    #[must_use]
    pub fn num_stable_steps(mut self, steps: u64) -> Self {
        self.num_stable_steps = Some(steps);
        self
    }

    /// The steps of warm-up and decay.
    fn sloping(&self) -> u64 {
        self.num_warmup_steps.saturating_add(self.num_decay_steps)
    }

    fn stable(&self) -> u64 {
        let rest = || Some(self.num_training_steps?.saturating_sub(self.sloping()));
        self.num_stable_steps.or_else(rest).unwrap_or(0)
    }
}

crate::rules::setters!(WarmupStableDecay {
    num_warmup_steps: u64,
    warmup_type: WarmupShape,
    decay_type: WarmupShape,
    min_lr_ratio: f64,
    num_cycles: f64,
});

impl Schedule for WarmupStableDecay {
    fn lr(&self, base: f64, t: u64) -> f64 {
        let (w, d) = (self.num_warmup_steps, self.num_decay_steps);
        let decay_start = w.saturating_add(self.stable());
        let factor = if t < w {
            let x = t as f64 / w as f64;
            match self.warmup_type {
                WarmupShape::Linear => x,
                WarmupShape::Cosine => (1.0 - (PI * x).cos()) / 2.0,
                WarmupShape::OneMinusSqrt => 1.0 - (1.0 - x).sqrt(),
            }
        } else if t < decay_start {
            return base;
        } else if t - decay_start < d {
            let x = (t - decay_start) as f64 / d as f64;
            match self.decay_type {
                WarmupShape::Linear => 1.0 - x,
                WarmupShape::Cosine => wave(self.num_cycles, x),
                WarmupShape::OneMinusSqrt => 1.0 - x.sqrt(),
            }
        } else {
            0.0
        };
        base * (factor * (1.0 - self.min_lr_ratio) + self.min_lr_ratio)
    }

    fn check(&self, _: &[f64]) -> Result<()> {
        const KIND: &str = "wsd_schedule";
        let (training, stable) = (self.num_training_steps, self.num_stable_steps);
        match (training, stable) {
            (Some(steps), None) => {
                let expected = format!("at least those of warm-up and decay, {}", self.sloping());
                let ok = steps >= self.sloping();
                option::ensure(ok, KIND, "num_training_steps", expected, steps)?;
            }
            (None, Some(_)) => {}
            _ => {
                let given = [
                    ("num_training_steps", training.is_some()),
                    ("num_stable_steps", stable.is_some()),
                ];
                let expected = "given, or num_stable_steps instead";
                let found = option::names(&given);
                option::ensure(false, KIND, "num_training_steps", expected, found)?;
            }
        }
        option::unit(KIND, "min_lr_ratio", self.min_lr_ratio)?;
        option::non_negative(KIND, "num_cycles", self.num_cycles)
    }
}
