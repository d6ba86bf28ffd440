use super::{Anneal, PerGroup, Schedule, option, part};
use crate::Result;

/// From wherever the rate is to `swa_lr`, for averaging weights.
///
/// ```text
/// lr(t) = base + (swa_lr - base) · anneal(min(t, anneal_epochs) / anneal_epochs)
/// ```
///
/// In a [`Sequential`](super::Sequential) the base is the last rate of the schedule before it.
///
/// Source: Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, 2018;
/// `torch.optim.swa_utils.SWALR`. [`Group::swa`](crate::Group#structfield.swa) keeps the average.
///
/// ```
/// use fallline::schedule::{CosineAnnealing, Schedule, Sequential, SwaLr};
///
/// let schedule = Sequential::new(CosineAnnealing::new(200)).then(160, SwaLr::new(0.05));
/// assert_eq!(schedule.lr(0.1, 160), schedule.lr(0.1, 159));
/// assert_eq!(schedule.lr(0.1, 170), 0.05);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct SwaLr {
    /// The rate at the end, finite and >= 0.
    pub swa_lr: PerGroup,
    /// How many steps it takes; with 0 it is there at once. Default: 10.
    #[cfg_attr(feature = "serde", serde(default = "default_anneal_epochs"))]
    pub anneal_epochs: u64,
    /// How it goes. Default: by a cosine.
    #[cfg_attr(feature = "serde", serde(default))]
    pub anneal_strategy: Anneal,
}

/// torch's.
fn default_anneal_epochs() -> u64 {
    10
}

impl SwaLr {
    /// With torch's defaults.
    #[must_use]
    pub fn new(swa_lr: impl Into<PerGroup>) -> Self {
        Self {
            swa_lr: swa_lr.into(),
            anneal_epochs: default_anneal_epochs(),
            anneal_strategy: Anneal::default(),
        }
    }
}

crate::rules::setters!(SwaLr { anneal_epochs: u64, anneal_strategy: Anneal });

impl Schedule for SwaLr {
    fn lr(&self, base: f64, t: u64) -> f64 {
        self.lr_of_group(0, base, t)
    }

    fn lr_of_group(&self, group: usize, base: f64, t: u64) -> f64 {
        self.anneal_strategy.between(base, self.swa_lr.get(group), part(t, self.anneal_epochs))
    }

    /// From the rate that would have led to the one that is found.
    fn chained_lr(&self, group: usize, found: f64, _: f64, t: u64) -> f64 {
        let (end, weight_at) =
            (self.swa_lr.get(group), |t| self.anneal_strategy.weight(part(t, self.anneal_epochs)));
        let before = t.checked_sub(1).map_or(0.0, weight_at);
        let start = if before == 1.0 { end } else { (found - before * end) / (1.0 - before) };
        end * weight_at(t) + start * (1.0 - weight_at(t))
    }

    fn continues(&self) -> bool {
        true
    }

    fn check(&self, base_lrs: &[f64]) -> Result<()> {
        self.swa_lr.check("swa", "swa_lr", base_lrs.len(), option::non_negative)
    }
}
