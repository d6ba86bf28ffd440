//! The optimizers. Each is one file here, one WGSL file and one CPU twin, all with the same stem.

mod group;
pub mod range;

use std::sync::Arc;

pub use fallline_shaders::Source;

pub use adam_mini::AdamMiniBlocks;
pub use group::{Group, Lookahead, Swa};
pub use range::OutOfRange;

use crate::{Slot, TensorSpec};

macro_rules! catalog {
    ($($stem:ident $rule:ident $source:ident $reference:literal,)*) => {
        $(
            mod $stem;
            pub use $stem::$rule;
        )*

        /// The names of the engine's rules.
        pub const RULE_NAMES: &[&str] = &[$(stringify!($stem)),*];

        /// What the rule of this name is held against: the implementation whose numbers it has.
        #[must_use]
        pub fn rule_reference(name: &str) -> Option<&'static str> {
            match name {
                $(stringify!($stem) => Some($reference),)*
                _ => None,
            }
        }

        /// The rule of this name, with its reference's defaults.
        #[must_use]
        pub fn rule_by_name(name: &str) -> Option<Arc<dyn Rule>> {
            match name {
                $(stringify!($stem) => Some(Arc::new($rule::default())),)*
                _ => None,
            }
        }

        /// The rule of this name with these options: fields by name, the reference's defaults for what is
        /// not given.
        ///
        /// # Errors
        /// The deserializer's, for a name or a key that does not exist.
        #[cfg(feature = "serde")]
        pub fn deserialize_rule<'de, D: serde::Deserializer<'de>>(
            name: &str,
            options: D,
        ) -> Result<Arc<dyn Rule>, D::Error> {
            match name {
                $(stringify!($stem) => {
                    let rule = <$rule as serde::Deserialize>::deserialize(options)?;
                    Ok(Arc::new(rule))
                })*
                _ => Err(serde::de::Error::unknown_variant(name, RULE_NAMES)),
            }
        }

        /// The fields of a rule, for [`deserialize_rule`].
        ///
        /// # Errors
        /// The serializer's; a rule that is not the engine's.
        #[cfg(feature = "serde")]
        pub fn serialize_rule<S: serde::Serializer>(
            rule: &dyn Rule,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            $(
                if let Some(rule) = rule.downcast_ref::<$rule>() {
                    return serde::Serialize::serialize(rule, serializer);
                }
            )*
            Err(serde::ser::Error::custom(format!("rule '{}' is not the engine's", rule.name())))
        }
    };
}

fallline_shaders::for_each_rule!(catalog);

/// An optimizer: a page of WGSL, and the values of its constants. The engine's own implement it as yours can.
///
/// ```text
/// once a tensor and step   scalars(t, lr, kept, step_hyper)            → scalars
/// once an element          propose(param, grad, state, tensor, hyper)  → direction, state
///                          apply(param, direction, tensor, hyper)      → param
/// ```
///
/// What the WGSL must declare says [`fallline_shaders`]. Formats of parameters, gradients and state, clipping,
/// loss scaling, borrowed buffers and saving serve every rule, and no rule knows of them.
///
/// Plain gradient descent, whole:
///
/// ```
/// use fallline::{Gpu, Group, Optimizer, OutOfRange, Rule, Slot, Source, TensorSpec, range};
///
/// const WGSL: &str = "
///     struct Hyper { padding0: vec4<f32>, padding1: vec4<f32>, }
///     struct StepHyper { padding0: vec4<f32>, padding1: vec4<f32>, }
///     struct Scalars { lr: f32, padding0: f32, padding1: vec2<f32>, }
///     struct State { none: u32, }
///
///     fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
///         return Scalars(lr, 0.0, vec2<f32>());
///     }
///     fn propose(
///         param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper,
///     ) -> Proposal {
///         return Proposal(grad, state);
///     }
///     fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
///         return param - tensor.scalars.lr * direction;
///     }
///     fn state_of(slots: Slots) -> State { return State(); }
///     fn slots_of(state: State) -> Slots { return Slots(); }";
///
/// #[derive(Debug)]
/// struct Descent {
///     lr: f64,
/// }
///
/// impl Rule for Descent {
///     fn source(&self) -> Source {
///         Source { path: "descent", text: WGSL }
///     }
///     fn lr(&self) -> f64 {
///         self.lr
///     }
///     fn check(&self) -> Result<(), OutOfRange> {
///         range::non_negative("lr", self.lr)
///     }
///     fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
///         Vec::new()
///     }
///     fn hyper(&self) -> Vec<(&'static str, f64)> {
///         Vec::new()
///     }
/// }
///
/// # fn main() -> fallline::Result<()> {
/// let groups = [Group::new("weights", Descent { lr: 0.1 })];
/// let tensors = [TensorSpec::new("weight", [784, 128])];
/// let optimizer = Optimizer::arena(&Gpu::from_env()?, &groups, &tensors)?;
/// # Ok(())
/// # }
/// ```
pub trait Rule: std::any::Any + std::fmt::Debug + Send + Sync {
    /// The WGSL. The last part of its path names the rule, in messages and in what is saved.
    fn source(&self) -> Source;

    /// The learning rate that the group was given.
    fn lr(&self) -> f64;

    /// Its weight decay, decoupled or not. `None`: it has none.
    fn weight_decay(&self) -> Option<f64> {
        None
    }

    /// The same rule with another weight decay: 0 for tensors that [`Groups::no_decay`](crate::Groups::no_decay)
    /// exempts, or what a [`schedule`](crate::schedule) gives for the next step. `None`: it has none.
    fn with_weight_decay(&self, weight_decay: f64) -> Option<Arc<dyn Rule>> {
        let _ = weight_decay;
        None
    }

    /// The same rule with another momentum, or another β1 where it has betas: what a schedule's
    /// [momentum](crate::schedule::Schedule::momentum) is for. `None`: it has neither, as AdaGrad; or it must not move, as
    /// in schedule-free rules, where it tells how far parameters are from where they are evaluated.
    ///
    /// ```
    /// use fallline::{AdamW, Rule, Sgd};
    ///
    /// let rule = Sgd::new().with_momentum(0.9).expect("SGD has one");
    /// assert_eq!(rule.downcast_ref(), Some(&Sgd::new().momentum(0.9)));
    /// let rule = AdamW::new().with_momentum(0.85).expect("AdamW has betas");
    /// assert_eq!(rule.downcast_ref(), Some(&AdamW::new().betas((0.85, 0.999))));
    /// ```
    fn with_momentum(&self, momentum: f64) -> Option<Arc<dyn Rule>> {
        let _ = momentum;
        None
    }

    /// Whether every hyperparameter is in its range.
    ///
    /// # Errors
    /// The first that is not.
    fn check(&self) -> Result<(), OutOfRange>;

    /// Compile-time switches for this tensor: boolean `override` constants of the WGSL.
    fn switches(&self, tensor: &TensorSpec) -> Vec<(&'static str, bool)> {
        let _ = tensor;
        Vec::new()
    }

    /// What it keeps for this tensor, in the order of the WGSL's slots. It may depend on shape and formats.
    fn slots(&self, tensor: &TensorSpec) -> Vec<Slot>;

    /// The fields of the WGSL's `Hyper`, in order, without padding.
    fn hyper(&self) -> Vec<(&'static str, f64)>;

    /// The fields of the WGSL's `StepHyper`, in order, without padding.
    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// What it looks at before it applies anything.
    fn scope(&self) -> Scope {
        Scope::Element
    }

    /// n, where a gradient of magnitude 2^n or more may take the rule out of the range of f32, though it is
    /// finite itself.
    fn grad_bound_exponent(&self) -> Option<i32> {
        None
    }

    /// Whether its WGSL's `keep` is for every step of the optimizer that is not skipped, and not for those alone in
    /// which the tensor has a gradient: for scalars that count these steps.
    fn keeps_without_grad(&self) -> bool {
        false
    }

    /// Whether the direction that it proposes is multiplied by the learning rate already. (Where it is not, `apply`
    /// does that.) [`Group::update_clipping`] limits a direction before it is.
    fn direction_has_lr(&self) -> bool {
        false
    }

    /// Whether its decoupled weight decay is the engine's, `decayed` of its WGSL: then
    /// [`Group::cautious_decay`] can make it cautious.
    fn has_decoupled_decay(&self) -> bool {
        false
    }

    /// Whether its state has another iterate that goes along with the parameter, as `z` of schedule-free rules and the
    /// average of ASGD. A group's options that would move the parameter alone are refused then: [`Group::caution`],
    /// [`Group::update_clipping`], [`Group::lookahead`].
    fn moves_state(&self) -> bool {
        false
    }

    /// Whether the learning rate cannot change: a step that brings another than the group's is an error then.
    fn has_fixed_lr(&self) -> bool {
        false
    }

    /// Whether parameters are evaluated elsewhere than where they are trained, at what `evaluated` of its WGSL makes of
    /// the state: see [`Optimizer::encode_eval`](crate::Optimizer::encode_eval).
    fn evaluates(&self) -> bool {
        false
    }

    /// The slots that its WGSL's `estimate` changes where an [estimate](crate::Optimizer::encode_estimate) of the
    /// Hessian's diagonal is handed in. None: it takes none.
    fn estimated(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the gradient's sign is turned.
    fn maximize(&self) -> bool {
        false
    }
}

/// What a rule looks at before it applies anything. Where that is more than an element, its WGSL has `terms`,
/// which are summed over it, and `decide`, which makes scalars of the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The element.
    #[default]
    Element,
    /// The tensor, or the [piece](crate::Whole) of one.
    Tensor,
    /// All tensors of its group that take the step.
    Group,
    /// All tensors that take the step, of all groups whose rules differ in hyperparameters only.
    Optimizer,
}

impl dyn Rule {
    /// The rule's name: the stem of its files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.source().stem()
    }

    /// Whether it takes estimates of the Hessian's diagonal.
    #[must_use]
    pub fn takes_estimates(&self) -> bool {
        !self.estimated().is_empty()
    }

    /// The name with the switches that are on for a tensor: what tells kernels of one rule apart.
    pub(crate) fn name_with_switches(&self, tensor: &TensorSpec) -> String {
        let switches =
            self.switches(tensor).into_iter().filter(|(_, on)| *on).map(|(name, _)| name);
        let words: Vec<&str> = std::iter::once(self.name()).chain(switches).collect();
        words.join(" ").to_lowercase()
    }

    /// The rule as one of a known type.
    #[must_use]
    pub fn downcast_ref<R: Rule>(&self) -> Option<&R> {
        (self as &dyn std::any::Any).downcast_ref()
    }
}

/// What a [`Group`] takes for its rule: a rule, or one that is shared.
pub trait IntoRule {
    /// The rule.
    fn into_rule(self) -> Arc<dyn Rule>;
}

impl<R: Rule> IntoRule for R {
    fn into_rule(self) -> Arc<dyn Rule> {
        Arc::new(self)
    }
}

impl IntoRule for Arc<dyn Rule> {
    fn into_rule(self) -> Arc<dyn Rule> {
        self
    }
}

/// The bound of a rule that squares gradients: what is below has a square below 2^126, and so moments
/// well within the range of f32.
pub(crate) const SQUARED_BOUND_EXPONENT: i32 = 63;

/// Rounds a hyperparameter to the f32 that the GPU gets.
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

/// ln β for a bias correction `1 - β^t`; a β of 0 is far below any that matters.
pub(crate) fn ln_beta(beta: f64) -> f64 {
    beta.ln().max(-10_000.0)
}

/// For `functions/rectification.wgsl`: ρ∞, and ρ∞ / ((ρ∞ - 4) (ρ∞ - 2)), or 0 where no ρ comes to 4.
pub(crate) fn rectification(beta2: f64) -> (f64, f64) {
    let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    let scale = if rho_inf > 4.0 { rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0)) } else { 0.0 };
    (rho_inf, scale)
}

/// Methods that set a field each, for structs that may grow.
macro_rules! setters {
    ($name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        impl $name {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;

/// Such methods, for what has a default.
macro_rules! builders {
    ($rule:ident { $($fields:tt)* }) => {
        impl $rule {
            /// With the reference's defaults.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }
        }

        $crate::rules::setters!($rule { $($fields)* });
    };
}
pub(crate) use builders;

/// The weight decay of a [`Rule`], which is its field.
macro_rules! weight_decay {
    () => {
        fn weight_decay(&self) -> Option<f64> {
            Some(self.weight_decay)
        }

        fn with_weight_decay(&self, weight_decay: f64) -> Option<std::sync::Arc<dyn Rule>> {
            Some(std::sync::Arc::new(Self { weight_decay, ..self.clone() }))
        }
    };
}
pub(crate) use weight_decay;

/// The momentum of a [`Rule`], which is this field.
macro_rules! momentum {
    ($($field:tt)+) => {
        fn with_momentum(&self, momentum: f64) -> Option<std::sync::Arc<dyn Rule>> {
            let mut rule = self.clone();
            rule.$($field)+ = momentum;
            Some(std::sync::Arc::new(rule))
        }
    };
}
pub(crate) use momentum;

#[cfg(test)]
mod tests;
