//! What a group may have around its rule, in the engine's terms and in the oracle's.

use std::fmt;

use fallline::{Group, Lookahead, Rule, Swa};
use fallline_reference::{Averaging, Steering, Tensor};

/// Nothing, or one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    Nothing,
    Caution,
    CautiousDecay,
    UpdateClipping,
    Lookahead,
    Ema,
    Swa,
}

/// So small that every direction of a step is clipped by one of the rules, and by none to nothing.
const RMS: f64 = 0.7;
/// In the second step the parameter goes back to the slow weights.
const K: u32 = 2;
const ALPHA: f64 = 0.3;
const DECAY: f64 = 0.6;
/// The average begins in the second step.
const START: u32 = 2;

impl Extra {
    pub(super) const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Caution,
        Self::CautiousDecay,
        Self::UpdateClipping,
        Self::Lookahead,
        Self::Ema,
        Self::Swa,
    ];

    /// Whether a rule may have it around it.
    pub(super) fn fits(self, rule: &dyn Rule) -> bool {
        match self {
            Self::Nothing | Self::Ema | Self::Swa => true,
            Self::CautiousDecay => rule.has_decoupled_decay(),
            Self::Caution | Self::UpdateClipping | Self::Lookahead => !rule.moves_state(),
        }
    }

    pub(super) fn of_group(self, group: Group) -> Group {
        match self {
            Self::Nothing => group,
            Self::Caution => group.caution(true),
            Self::CautiousDecay => group.cautious_decay(true),
            Self::UpdateClipping => group.update_clipping(RMS),
            Self::Lookahead => group.lookahead(Lookahead::new(K, ALPHA)),
            Self::Ema => group.ema_decay(DECAY),
            Self::Swa => group.swa(Swa::new(START, 1)),
        }
    }

    pub(super) fn of_oracle(self, oracle: Tensor<f64>) -> Tensor<f64> {
        let steering = Steering::default();
        match self {
            Self::Nothing => oracle,
            Self::Caution => oracle.steered(Steering { caution: true, ..steering }),
            Self::CautiousDecay => oracle.steered(Steering { cautious_decay: true, ..steering }),
            Self::UpdateClipping => {
                oracle.steered(Steering { update_clipping: Some(RMS), ..steering })
            }
            Self::Lookahead => oracle.lookahead(K, ALPHA),
            Self::Ema => oracle.ema(DECAY),
            Self::Swa => oracle.averaged(Averaging::Swa { start: START, every: 1 }),
        }
    }
}

/// With a comma, before what it goes around.
impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "",
            Self::Caution => "caution, ",
            Self::CautiousDecay => "cautious weight decay, ",
            Self::UpdateClipping => "update clipping, ",
            Self::Lookahead => "Lookahead, ",
            Self::Ema => "EMA, ",
            Self::Swa => "SWA, ",
        })
    }
}
