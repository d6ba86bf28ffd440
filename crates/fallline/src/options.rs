//! What holds for a whole optimizer, beside its groups.

use crate::{
    Error, Gpu, Group, LossScaler, Result,
    factors::{check, positive},
};

/// Clipping, loss scaling, overflow checks and monitoring. The default does none of these.
///
/// Their order in a step: gradients are unscaled, looked at for overflow, measured, clipped to a norm,
/// clipped by value; then the rules see them.
///
/// ```no_run
/// use fallline::{DynamicScale, Gpu, LossScaler, Options};
///
/// # fn main() -> fallline::Result<()> {
/// let gpu = Gpu::from_env()?;
/// let scaler = LossScaler::dynamic(&gpu, DynamicScale::default())?;
/// let options =
///     Options { max_norm: Some(1.0), loss_scaler: Some(scaler), ..Options::default() };
/// // Optimizer::arena_with(&gpu, &groups, &tensors, &options)
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Clips the gradients of all tensors to a common norm, as `torch.nn.utils.clip_grad_norm_`:
    ///
    /// ```text
    /// norm ← √(Σ g²) over all tensors,  g ← g · min(1, max_norm / (norm + 1e-6))
    /// ```
    ///
    /// Tensors of a group with a limit of its own ([`Group::max_norm`]) count in this norm, but are
    /// clipped by theirs. Infinity measures and changes nothing. At least 2^-126.
    pub max_norm: Option<f64>,
    /// Clips each element to ±`clip_value`, as `torch.nn.utils.clip_grad_value_`; a NaN stays one.
    /// Finite, and at least 2^-126.
    pub clip_value: Option<f64>,
    /// By what the runtime multiplied its loss; made with (a clone of) the same [`Gpu`]. A step whose gradients are not all finite is then
    /// skipped.
    pub loss_scaler: Option<LossScaler>,
    /// Skip a step whose gradients, or their norm, are not finite, also without a loss scaler; and one
    /// whose gradients are finite, but too large for a rule that squares them
    /// ([`SkipReason`](crate::SkipReason)).
    pub skip_non_finite: bool,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// What steps tell beside what they do; nothing by default.
    pub monitor: Option<Monitor>,
}

/// Which steps are monitored, and what they tell ([`StepReport::monitored`](crate::StepReport::monitored)): norms of
/// gradients, of updates and of weights, learning rates.
///
/// A step that is not monitored is the step of an optimizer without a monitor, dispatch by dispatch. One that is adds up
/// what its update loads and stores anyway; where no option looks at gradients in every step, this one does.
///
/// ```
/// use fallline::{Monitor, Options};
///
/// let monitor = Monitor { per_tensor: true, ..Monitor::default() };
/// let options = Options { max_norm: Some(1.0), monitor: Some(monitor), ..Options::default() };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Monitor {
    /// Every this many steps one is monitored; at least 1. 20 by default.
    pub interval: u32,
    /// Whether it tells of each tensor, or of groups only.
    pub per_tensor: bool,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { interval: 20, per_tensor: false }
    }
}

impl Options {
    /// Whether some step looks at all gradients before it updates.
    pub(crate) fn measures(&self, groups: &[Group]) -> bool {
        self.monitor.is_some() || self.always_measures(groups)
    }

    /// Whether every step does.
    pub(crate) fn always_measures(&self, groups: &[Group]) -> bool {
        self.max_norm.is_some()
            || self.skips()
            || groups.iter().any(|group| group.max_norm.is_some())
    }

    /// Whether a step with an overflow is skipped.
    pub(crate) fn skips(&self) -> bool {
        self.loss_scaler.is_some() || self.skip_non_finite
    }

    pub(crate) fn check(&self, gpu: &Gpu, groups: &[Group]) -> Result<()> {
        if let Some(value) = self.max_norm {
            check_max_norm("max_norm".into(), value)?;
        }
        for group in groups {
            if let Some(value) = group.max_norm {
                check_max_norm(format!("group '{}': max_norm", group.name), value)?;
            }
        }
        if let Some(value) = self.clip_value {
            let ok = positive(value);
            check("clip_value".into(), "finite and >= 2^-126", value, ok)?;
        }
        if let Some(Monitor { interval: 0, .. }) = self.monitor {
            check("the interval of the monitor".into(), ">= 1", 0.0, false)?;
        }
        match &self.loss_scaler {
            Some(scaler) if !scaler.gpu().is_same(gpu) => Err(Error::ForeignScaler),
            _ => Ok(()),
        }
    }
}

fn check_max_norm(what: String, value: f64) -> Result<()> {
    check(what, ">= 2^-126", value, value == f64::INFINITY || positive(value))
}
