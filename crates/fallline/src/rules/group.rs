//! Parameter groups.

use std::sync::Arc;

use super::{IntoRule, OutOfRange, Rule, range};
use crate::{Slot, StateFormat};

/// A named parameter group: one rule with its hyperparameters for some of the tensors.
///
/// ```
/// use fallline::{AdamW, Group, Lion, Lookahead, StateFormat};
///
/// let groups = [
///     Group::new("weights", AdamW::new().weight_decay(0.1)).state(StateFormat::Int8),
///     Group::new("embeddings", Lion::new().lr(1e-4)).max_norm(1.0),
///     Group::new("head", AdamW::new()).lookahead(Lookahead::default()).ema_decay(0.999),
/// ];
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group {
    /// A name that no other group has.
    pub name: String,
    /// The rule and its hyperparameters.
    pub rule: Arc<dyn Rule>,
    /// Multiplies the learning rate that a step gives to all groups, or the rule's own: finite and >= 0, and 1 for a
    /// rule whose learning rate [is fixed](Rule::has_fixed_lr). Rates that a step gives to each group or tensor are taken
    /// as they are.
    ///
    /// Source: timm's key `lr_scale` of a parameter group, which its schedulers multiply by.
    pub lr_scale: f64,
    /// Clips the gradients of this group to a norm of its own, as `torch.nn.utils.clip_grad_norm_`
    /// called with the group's parameters: see [`Options::max_norm`](crate::Options::max_norm). Positive;
    /// infinity exempts the group from clipping to a norm.
    pub max_norm: Option<f64>,
    /// The format of the group's state.
    pub state: StateFormat,
    /// Tensors with fewer elements keep their state in f32, whatever [`state`](Self::state) is: there
    /// is little to save, and norms and biases are the most sensitive. (bitsandbytes has the same
    /// threshold, `min_8bit_size`.)
    pub min_state_elems: u64,
    /// Lookahead around the rule; refused where caution is. (pytorch-optimizer's and optax's go around schedule-free rules
    /// too, and take the parameter back without `z`.)
    pub lookahead: Option<Lookahead>,
    /// The decay of an exponential moving average of the parameters, in [0, 1]:
    /// `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`.
    ///
    /// ```text
    /// average ← p in the tensor's first step, then  average ← lerp(average, p, 1 - decay)
    /// ```
    ///
    /// It is read as the state slot `average`, in f32, also of parameters of 16 bits: then it is of the parameter
    /// before that is rounded. [`Optimizer::encode_eval`](crate::Optimizer::encode_eval) puts it where the parameter is.
    pub ema_decay: Option<f64>,
    /// Whether the average follows closely at first: with `min(ema_decay, (1 + n) / (10 + n))` after n averages.
    ///
    /// Source: TensorFlow's `tf.train.ExponentialMovingAverage` with `num_updates`, and diffusers' `EMAModel`, whose n
    /// this is: 0 in the first step, which copies. (Newer diffusers and timm have `1 - (1 + n / gamma)^-power`.)
    pub ema_warmup: bool,
    /// An equal average of the parameters after some of their steps, in the place of `ema_decay`.
    pub swa: Option<Swa>,
    /// Caution: a parameter's element follows its rule's direction only where the gradient, as the rule gets it, has
    /// the same sign.
    ///
    /// ```text
    /// k ← u · g > 0,  u ← u · k / max(mean(k), 0.001)          u: the direction; mean over the tensor
    /// ```
    ///
    /// It needs a sum over the tensor, or the [piece](crate::Whole) of one, before the update: gradients and state are read
    /// twice.
    ///
    /// Source: Liang et al., *Cautious Optimizers: Improving Training with One Line of Code*, 2024; timm's `caution`.
    /// Signs are compared: timm's product is 0 where it leaves the range of f32. The state is what it would be without,
    /// and a rule that looks at whole tensors does so before. (timm's LAMB sees what is left of the direction.) An element
    /// whose direction is not a number stays one. A tensor of one element moves wholly or not at all. Refused around a rule
    /// that [moves its state along](Rule::moves_state), schedule-free or ASGD: no reference has it there, and where they
    /// evaluate would no longer be the average of where they were.
    pub caution: bool,
    /// Cautious weight decay: only where the rule does not move the parameter away from 0 itself. For rules with
    /// decoupled weight decay.
    ///
    /// ```text
    /// p ← p · (1 - lr · weight_decay) where u · p >= 0,  then as without        u: the direction that is followed
    /// ```
    ///
    /// Source: Chen et al., *Cautious Weight Decay*, 2025 (arXiv:2510.12402).
    pub cautious_decay: bool,
    /// The largest root mean square that a tensor's direction may have, before it is multiplied by the learning rate;
    /// finite and > 0. It comes behind caution.
    ///
    /// ```text
    /// u ← u / max(1, RMS(u) / update_clipping)          RMS over the tensor, or the piece of one
    /// ```
    ///
    /// Source: Shazeer and Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*, 2018, section 6, where
    /// it is part of a rule. A direction of infinite norm leaves every finite element as it is; a NaN in it limits
    /// nothing. Refused where caution is.
    pub update_clipping: Option<f64>,
}

/// Stochastic weight averaging: the equal average of a parameter after some of its steps.
///
/// ```text
/// average ← p in step `start` of the tensor, then, in every step that is a multiple of `every` behind,
/// average ← average + (p - average) / (n + 1)          n averages so far
/// ```
///
/// It is the state slot `average`, in f32; zero before step `start`. In steps between it is neither loaded nor stored.
///
/// Source: Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, 2018;
/// `torch.optim.swa_utils.AveragedModel` with its default average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swa {
    /// The tensor's step after which averaging begins, at least 1.
    pub start: u32,
    /// Steps from one average to the next, at least 1.
    pub every: u32,
}

impl Swa {
    /// With these.
    #[must_use]
    pub const fn new(start: u32, every: u32) -> Self {
        Self { start, every }
    }
}

impl Default for Swa {
    /// Every step from the first on.
    fn default() -> Self {
        Self::new(1, 1)
    }
}

/// Lookahead: fast weights that a rule moves, and slow weights that follow them.
///
/// ```text
/// slow ← p before the tensor's first step
/// slow ← slow + alpha · (p - slow),  p ← slow          after every k-th step of the tensor
/// ```
///
/// The slow weights are the state slot `slow`, in f32. In steps between they are neither loaded nor stored.
///
/// Source: Zhang et al., *Lookahead Optimizer: k steps forward, 1 step back*, 2019; `optax.lookahead`. Steps are the
/// tensor's own: one without a gradient in a step is k steps behind the others when they are k - 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Lookahead {
    /// Steps of the fast weights for one of the slow weights, at least 1.
    pub k: u32,
    /// How far the slow weights follow, in [0, 1].
    pub alpha: f64,
}

impl Lookahead {
    /// With these.
    #[must_use]
    pub const fn new(k: u32, alpha: f64) -> Self {
        Self { k, alpha }
    }
}

impl Default for Lookahead {
    /// The paper's.
    fn default() -> Self {
        Self::new(5, 0.5)
    }
}

impl Group {
    /// A group.
    pub fn new(name: impl Into<String>, rule: impl IntoRule) -> Self {
        Self {
            name: name.into(),
            rule: rule.into_rule(),
            lr_scale: 1.0,
            max_norm: None,
            state: StateFormat::F32,
            min_state_elems: 4096,
            lookahead: None,
            ema_decay: None,
            ema_warmup: false,
            swa: None,
            caution: false,
            cautious_decay: false,
            update_clipping: None,
        }
    }

    /// Sets [`lr_scale`](Self#structfield.lr_scale).
    #[must_use]
    pub fn lr_scale(mut self, scale: f64) -> Self {
        self.lr_scale = scale;
        self
    }

    /// The learning rate that it was given: its rule's times [`lr_scale`](Self#structfield.lr_scale). The base of a
    /// schedule, torch's `base_lr`.
    #[must_use]
    pub fn lr(&self) -> f64 {
        self.rule.lr() * self.lr_scale
    }

    /// The format of the state, for tensors of at least [`min_state_elems`](Self::min_state_elems).
    #[must_use]
    pub fn state(mut self, state: StateFormat) -> Self {
        self.state = state;
        self
    }

    /// The format of the state of a tensor of `len_elems` elements; of a piece, those of its whole.
    #[must_use]
    pub fn state_of(&self, len_elems: u64) -> StateFormat {
        if len_elems < self.min_state_elems { StateFormat::F32 } else { self.state }
    }

    /// Sets [`min_state_elems`](Self#structfield.min_state_elems).
    #[must_use]
    pub fn min_state_elems(mut self, min_state_elems: u64) -> Self {
        self.min_state_elems = min_state_elems;
        self
    }

    /// Sets [`lookahead`](Self#structfield.lookahead).
    #[must_use]
    pub fn lookahead(mut self, lookahead: Lookahead) -> Self {
        self.lookahead = Some(lookahead);
        self
    }

    /// Sets [`ema_decay`](Self#structfield.ema_decay).
    #[must_use]
    pub fn ema_decay(mut self, decay: f64) -> Self {
        self.ema_decay = Some(decay);
        self
    }

    /// Sets [`ema_warmup`](Self#structfield.ema_warmup).
    #[must_use]
    pub fn ema_warmup(mut self, warmup: bool) -> Self {
        self.ema_warmup = warmup;
        self
    }

    /// Sets [`swa`](Self#structfield.swa).
    #[must_use]
    pub fn swa(mut self, swa: Swa) -> Self {
        self.swa = Some(swa);
        self
    }

    /// Sets [`caution`](Self#structfield.caution).
    #[must_use]
    pub fn caution(mut self, caution: bool) -> Self {
        self.caution = caution;
        self
    }

    /// Sets [`cautious_decay`](Self#structfield.cautious_decay).
    #[must_use]
    pub fn cautious_decay(mut self, cautious: bool) -> Self {
        self.cautious_decay = cautious;
        self
    }

    /// Sets [`update_clipping`](Self#structfield.update_clipping).
    #[must_use]
    pub fn update_clipping(mut self, rms: f64) -> Self {
        self.update_clipping = Some(rms);
        self
    }

    /// Whether there is an average.
    pub(crate) fn averages(&self) -> bool {
        self.ema_decay.is_some() || self.swa.is_some()
    }

    /// The slots of what comes after the rule's updates, in the order of `functions/after.wgsl`.
    pub(crate) fn after_slots(&self) -> impl Iterator<Item = Slot> {
        let slow = self.lookahead.map(|_| Slot::moment("slow").exact());
        let average = self.averages().then(|| Slot::moment("average").exact());
        slow.into_iter().chain(average)
    }

    /// Whether every hyperparameter is in its range.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        self.rule.check()?;
        range::non_negative("lr_scale", self.lr_scale)?;
        if let Some(Lookahead { k, alpha }) = self.lookahead {
            range::positive("lookahead k", k.into())?;
            range::unit("lookahead alpha", alpha)?;
        }
        if let Some(Swa { start, every }) = self.swa {
            range::positive("swa start", start.into())?;
            range::positive("swa every", every.into())?;
        }
        if let Some(rms) = self.update_clipping {
            range::positive("update_clipping", rms)?;
        }
        self.ema_decay.map_or(Ok(()), |decay| range::unit("ema_decay", decay))
    }

    /// What is wrong with its options together: the option, and why.
    pub(crate) fn conflict(&self) -> Option<(&'static str, &'static str)> {
        if self.swa.is_some() && self.ema_decay.is_some() {
            return Some(("swa", "the group has one average, which is that of ema_decay"));
        }
        if self.ema_warmup && self.ema_decay.is_none() {
            return Some(("ema_warmup", "there is no ema_decay to begin with"));
        }
        if self.lr_scale != 1.0 && self.rule.has_fixed_lr() {
            return Some(("lr_scale", "its rule takes its learning rate once and for all"));
        }
        if self.cautious_decay && !self.rule.has_decoupled_decay() {
            return Some(("cautious_decay", "its rule has no decoupled weight decay"));
        }
        if self.rule.moves_state() {
            let moves_param_alone = [
                ("caution", self.caution),
                ("update_clipping", self.update_clipping.is_some()),
                ("lookahead", self.lookahead.is_some()),
            ];
            let reason =
                "its rule's state goes along with the parameter, which this would move alone";
            let found = moves_param_alone.into_iter().find(|(_, is_on)| *is_on);
            return found.map(|(option, _)| (option, reason));
        }
        None
    }

    /// Clips the group's gradients to a norm of their own.
    #[must_use]
    pub fn max_norm(mut self, max_norm: f64) -> Self {
        self.max_norm = Some(max_norm);
        self
    }
}
