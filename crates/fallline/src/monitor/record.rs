use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is told of a monitored step, and of the steps since the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Record {
    /// The optimizer's step, counted from 1.
    pub step: u32,
    /// The loss, if the caller knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// How many steps were reported since the record before, this one included. Fewer than there were, if only monitored
    /// steps look at gradients, or if reports were not asked for in time.
    pub steps: u32,
    /// How many of these were clipped to a norm.
    pub clipped: u32,
    /// Those that were skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<u32>,
    /// Those with a gradient that is infinite or NaN, and also earlier ones that no report was left of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub non_finite: Vec<NonFiniteStep>,
    /// The norm of all gradients, unscaled and before clipping.
    #[serde(with = "number")]
    pub norm: f32,
    /// The limit to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_norm: Option<f64>,
    /// By which gradients of groups without a limit of their own were multiplied.
    #[serde(with = "number")]
    pub clip_factor: f32,
    /// The loss scale of the step's gradients.
    #[serde(with = "number")]
    pub loss_scale: f32,
    /// The limit that [the norms so far](super::NormHistory::suggested_max_norm) suggest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_max_norm: Option<f32>,
    /// The groups.
    pub groups: Vec<RecordNorms>,
    /// The tensors, if they are told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<RecordNorms>,
}

/// A step with a gradient that is infinite or NaN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct NonFiniteStep {
    /// The optimizer's step, counted from 1.
    pub step: u32,
    /// The name of the first tensor with such a gradient.
    pub tensor: String,
}

/// What is told of a group or a tensor: [`Norms`](crate::Norms), by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct RecordNorms {
    /// Of the group or tensor.
    pub name: String,
    /// Of the gradient, unscaled and before clipping.
    #[serde(with = "number")]
    pub norm: f32,
    /// The group's own limit to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_norm: Option<f64>,
    /// Of the change of the parameter.
    #[serde(with = "number")]
    pub update_norm: f32,
    /// Of the parameter before the step.
    #[serde(with = "number")]
    pub weight_norm: f32,
    /// The first of these two by the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_ratio: Option<f32>,
    /// The learning rate.
    #[serde(with = "number")]
    pub lr: f32,
}

/// A number, or `null` for one that is not finite.
mod number {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        match value.is_finite() {
            true => serializer.serialize_f32(*value),
            false => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(value: D) -> Result<f32, D::Error> {
        Ok(Option::<f32>::deserialize(value)?.unwrap_or(f32::NAN))
    }
}
