//! Any schedule, by its kind.

use std::{fmt, sync::Arc};

use super::*;
use crate::{Error, Result};

macro_rules! kinds {
    (
        formulas { $($formula:ident $formula_kind:literal $(| $formula_alias:literal)*,)* }
        by_metric { $($metric:ident $metric_kind:literal $(| $metric_alias:literal)*,)* }
    ) => {
        /// Any schedule: what a configuration's table `[schedule]` with its `kind` becomes.
        ///
        /// ```
        /// use fallline::schedule::{AnySchedule, CosineAnnealing};
        ///
        /// let schedule = AnySchedule::from(CosineAnnealing::new(100));
        /// assert_eq!(schedule.kind(), "cosine_annealing");
        /// assert_eq!(schedule.closed_form().expect("a formula").lr(0.1, 50), 0.05);
        /// ```
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(tag = "kind"))]
        pub enum AnySchedule {
            $(
                #[doc = concat!("`", $formula_kind, "`.")]
                #[cfg_attr(feature = "serde", serde(rename = $formula_kind $(, alias = $formula_alias)*))]
                $formula($formula),
            )*
            $(
                #[doc = concat!("`", $metric_kind, "`.")]
                #[cfg_attr(feature = "serde", serde(rename = $metric_kind $(, alias = $metric_alias)*))]
                $metric($metric),
            )*
            /// The caller's own: see [`AnySchedule::custom`].
            #[cfg_attr(feature = "serde", serde(skip))]
            Custom(Custom),
        }

        $(
            impl From<$formula> for AnySchedule {
                fn from(schedule: $formula) -> Self {
                    Self::$formula(schedule)
                }
            }
        )*

        $(
            impl From<$metric> for AnySchedule {
                fn from(schedule: $metric) -> Self {
                    Self::$metric(schedule)
                }
            }
        )*

        /// The kinds that configurations have.
        pub const KINDS: &[&str] = &[$($formula_kind,)* $($metric_kind,)*];

        impl AnySchedule {
            /// The name that configurations have for it; `custom` for the caller's own.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$formula(_) => $formula_kind,)*
                    $(Self::$metric(_) => $metric_kind,)*
                    Self::Custom(_) => "custom",
                }
            }

            /// What gives its rates; none where they depend on a metric, so that a [`Scheduler`] must keep them.
            #[must_use]
            pub fn closed_form(&self) -> Option<&dyn Schedule> {
                match self {
                    $(Self::$formula(schedule) => Some(schedule),)*
                    $(Self::$metric(_) => None,)*
                    Self::Custom(custom) => Some(&*custom.0),
                }
            }
        }

        /// The schedule of this kind, by its name or another, with these options. Unlike
        /// [`AnySchedule`]'s own `Deserialize`, it leaves the options to the deserializer, whose errors name them.
        ///
        /// # Errors
        /// The deserializer's, for a kind or an option that does not exist.
        #[cfg(feature = "serde")]
        pub fn deserialize_schedule<'de, D: serde::Deserializer<'de>>(
            kind: &str,
            options: D,
        ) -> Result<AnySchedule, D::Error> {
            match kind {
                $($formula_kind $(| $formula_alias)* => {
                    <$formula as serde::Deserialize>::deserialize(options).map(Into::into)
                })*
                $($metric_kind $(| $metric_alias)* => {
                    <$metric as serde::Deserialize>::deserialize(options).map(Into::into)
                })*
                _ => Err(serde::de::Error::unknown_variant(kind, KINDS)),
            }
        }
    };
}

kinds! {
    formulas {
        StepDecay "step",
        MultiStep "multi_step",
        Constant "constant",
        Linear "linear",
        Exponential "exponential",
        Polynomial "polynomial",
        CosineAnnealing "cosine_annealing",
        CosineAnnealingWarmRestarts "cosine_annealing_warm_restarts" | "warm_restarts",
        OneCycle "one_cycle",
        Cyclic "cyclic",
        SwaLr "swa",
        Sequential "sequential",
        Chained "chained",
        ConstantWithWarmup "constant_schedule_with_warmup" | "constant_with_warmup" | "constant_schedule",
        LinearWithWarmup "linear_schedule_with_warmup" | "linear_with_warmup",
        CosineWithWarmup "cosine_schedule_with_warmup" | "cosine_with_warmup" | "cosine",
        CosineWithHardRestarts "cosine_with_hard_restarts_schedule_with_warmup"
            | "cosine_with_hard_restarts" | "cosine_with_restarts",
        PolynomialDecayWithWarmup "polynomial_decay_schedule_with_warmup" | "polynomial_with_warmup",
        InverseSqrt "inverse_sqrt_schedule" | "inverse_sqrt" | "noam",
        CosineWithMinLr "cosine_with_min_lr_schedule_with_warmup" | "cosine_with_min_lr",
        CosineWithMinLrWarmupRate "cosine_with_min_lr_schedule_with_warmup_lr_rate"
            | "cosine_warmup_with_min_lr",
        WarmupStableDecay "wsd_schedule" | "warmup_stable_decay" | "wsd",
    }
    by_metric {
        ReduceOnPlateau "reduce_on_plateau" | "reduce_lr_on_plateau" | "reduce_on_plateau_schedule" | "plateau",
        Greedy "greedy_schedule" | "greedy",
    }
}

/// A schedule of the caller's.
#[derive(Clone)]
pub struct Custom(Arc<dyn Schedule>);

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

impl AnySchedule {
    /// A closure, or another schedule of the caller's. It is not saved.
    ///
    /// ```
    /// use fallline::schedule::{AnySchedule, Linear, Sequential};
    ///
    /// let decay = AnySchedule::custom(|t: u64| 0.95f64.powf(t as f64));
    /// let schedule = Sequential::new(Linear::new()).then(5, decay);
    /// # let _ = schedule;
    /// ```
    #[must_use]
    pub fn custom(schedule: impl Schedule + 'static) -> Self {
        Self::Custom(Custom(Arc::new(schedule)))
    }

    /// Whether its options are in their ranges, for groups with these learning rates.
    ///
    /// # Errors
    /// [`Error::Schedule`] for the first that is not.
    pub fn check(&self, base_lrs: &[f64]) -> Result<()> {
        match self {
            Self::ReduceOnPlateau(schedule) => schedule.check(base_lrs),
            Self::Greedy(schedule) => schedule.check(base_lrs),
            _ => self.closed_form().map_or(Ok(()), |schedule| schedule.check(base_lrs)),
        }
    }
}

/// Checks the schedules that one consists of.
pub(super) fn check_all(
    kind: &'static str,
    schedulers: &[AnySchedule],
    base_lrs: &[f64],
) -> Result<()> {
    option::ensure(!schedulers.is_empty(), kind, "schedulers", "one at least", "none")?;
    for (index, schedule) in schedulers.iter().enumerate() {
        let name = format!("schedulers[{index}]");
        let expected = "a schedule that needs no metric";
        option::ensure(schedule.closed_form().is_some(), kind, &name, expected, schedule.kind())?;
        schedule.check(base_lrs).map_err(|error| match error {
            Error::Schedule { option, expected, found, .. } => {
                Error::Schedule { kind, option: format!("{name}.{option}"), expected, found }
            }
            other => other,
        })?;
    }
    Ok(())
}
