//! What a fused optimizer does: a rule, and what is around it.

mod burns;

use burn::tensor::wgpu::WgpuSetup;
use fallline::{DynamicScale, Group, IntoRule, Monitor, Options, Precision, StateFormat};

use crate::{Error, Fused, Result};

/// What a fused optimizer does: made of one of fallline's rules, or of a configuration of Burn's.
///
/// ```no_run
/// use burn::{optim::AdamWConfig, tensor::Device};
/// use fallline_burn::{FusedConfig, fallline::{Prodigy, StateFormat}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (device, setup) = Device::wgpu_options().init_with_setup()?;
/// // Burn's names and defaults, with what Burn does not have:
/// let adamw = FusedConfig::try_from(AdamWConfig::new().with_weight_decay(0.01))?
///     .with_max_norm(1.0)
///     .with_state(StateFormat::Int8)
///     .init(&setup)?;
/// // A rule that Burn does not have:
/// let prodigy = FusedConfig::new(Prodigy::new()).init(&setup)?;
/// # Ok(())
/// # }
/// ```
///
/// From a configuration of Burn's come its hyperparameters, to the bit, and clipping by value. Clipping by norm is refused:
/// Burn clips each tensor by itself, and [`with_max_norm`](Self::with_max_norm) all of them together. (Burn's is
/// `ModuleOptimizer::with_grad_clipping`, which works as ever: gradients come here clipped.)
#[derive(Clone, Debug)]
pub struct FusedConfig {
    pub(crate) group: Group,
    pub(crate) options: Options,
    pub(crate) loss_scale: Option<DynamicScale>,
    pub(crate) precision: Precision,
    pub(crate) accumulated: u32,
    pub(crate) in_place: Option<bool>,
}

impl FusedConfig {
    /// A rule of fallline's, or of your own. Its learning rate counts for nothing: each step brings one.
    pub fn new(rule: impl IntoRule) -> Self {
        Self {
            group: Group::new("", rule),
            options: Options::default(),
            loss_scale: None,
            precision: Precision::Nearest,
            accumulated: 1,
            in_place: None,
        }
    }

    /// Clips the gradients of all tensors to a common norm, on the GPU and without a wait.
    #[must_use]
    pub fn with_max_norm(mut self, max_norm: f64) -> Self {
        self.options.max_norm = Some(max_norm);
        self
    }

    /// Clips each element of the gradients.
    #[must_use]
    pub fn with_clip_value(mut self, value: f64) -> Self {
        self.options.clip_value = Some(value);
        self
    }

    /// Skips steps whose gradients are not all finite.
    #[must_use]
    pub fn with_skip_non_finite(mut self) -> Self {
        self.options.skip_non_finite = true;
        self
    }

    /// A loss scale that adapts itself on the GPU: multiply the loss by [`Fused::loss_scale`]. Steps whose gradients
    /// overflow are skipped.
    #[must_use]
    pub fn with_loss_scale(mut self, scale: DynamicScale) -> Self {
        self.loss_scale = Some(scale);
        self
    }

    /// The format of the state: of 8 or 4 bits, say.
    #[must_use]
    pub fn with_state(mut self, state: StateFormat) -> Self {
        self.group.state = state;
        self
    }

    /// How parameters of 16 bits are kept; others are as they are.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// An exponential moving average of the parameters: see [`Fused::evaluated`].
    #[must_use]
    pub fn with_ema_decay(mut self, decay: f64) -> Self {
        self.group.ema_decay = Some(decay);
        self
    }

    /// Gradients are sums over this many micro-batches, as those of Burn's `GradientsAccumulator` are, and are divided by
    /// it.
    #[must_use]
    pub fn with_accumulated(mut self, micro_batches: u32) -> Self {
        self.accumulated = micro_batches;
        self
    }

    /// What the steps of an interval report: see [`Fused::reports`].
    #[must_use]
    pub fn with_monitor(mut self, monitor: Monitor) -> Self {
        self.options.monitor = Some(monitor);
        self
    }

    /// The seed of stochastic rounding.
    #[must_use]
    pub fn with_seed(mut self, seed: u32) -> Self {
        self.options.seed = seed;
        self
    }

    /// Whatever else a group has around its rule: caution, Lookahead, a norm of its own.
    ///
    /// ```
    /// use fallline_burn::{FusedConfig, fallline::{AdamW, Lookahead}};
    ///
    /// let config = FusedConfig::new(AdamW::new()).with_group(|group| group.lookahead(Lookahead::default()));
    /// ```
    #[must_use]
    pub fn with_group(mut self, change: impl FnOnce(Group) -> Group) -> Self {
        self.group = change(self.group);
        self
    }

    /// Whether parameters that somebody else holds too, as a clone of the module does, are written where they lie (true),
    /// or copied first (false). By default a step in a loop of one's own copies, and one in a `Learner` does not: that
    /// holds a clone in every step. See [the guide](crate#clones-of-the-module).
    #[must_use]
    pub fn with_in_place(mut self, in_place: bool) -> Self {
        self.in_place = Some(in_place);
        self
    }

    /// The optimizer, on the device that `Device::wgpu_options().init_with_setup()` has opened. (Burn does not give the
    /// queue of a device that is open already.)
    ///
    /// # Errors
    /// [`Error::Engine`] for a device with too low limits; what is wrong with the rule is found with the first step.
    pub fn init(self, setup: &WgpuSetup) -> Result<Fused> {
        Fused::new(self, setup)
    }

    /// Whether it is of a group alone.
    pub(crate) fn check_group(&self) -> Result<()> {
        let Options { max_norm, clip_value, skip_non_finite, monitor, .. } = &self.options;
        let given = [
            ("max_norm", max_norm.is_some()),
            ("clip_value", clip_value.is_some()),
            ("skip_non_finite", *skip_non_finite),
            ("monitor", monitor.is_some()),
            ("loss_scale", self.loss_scale.is_some()),
            ("accumulated", self.accumulated != 1),
            ("in_place", self.in_place.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((what, _)) => Err(Error::OfAllGroups { what }),
            None => Ok(()),
        }
    }
}
