//! What is kept of a parameter beside its 16 bits.

use super::Dtype;

/// What a parameter of 16 bits keeps of an update that is smaller than its last bit. A parameter in
/// f32 has [`Nearest`](Self::Nearest) only.
///
/// With p = 1 in bf16, a learning rate of 1e-4 and a constant gradient, 100 steps of Adam should give
/// 0.99. `Nearest` gives 1; the others 0.99 (`Stochastic` on the average).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Nothing: the result is rounded to the nearest code, ties to the even one.
    #[default]
    Nearest,
    /// On the average all: rounded up or down by a chance that is a function of seed, tensor, step and
    /// element (Gupta et al., *Deep Learning with Limited Numerical Precision*, 2015).
    Stochastic,
    /// All: an f32 copy, of which the parameter is the nearest code (Micikevicius et al., *Mixed
    /// Precision Training*, 2018). 4 bytes more for each element.
    ///
    /// An element whose parameter the caller wrote starts again from what was written.
    Master,
    /// All, for bf16: parameter and a remainder of 16 bits are the f32 exactly (as in NVIDIA apex's
    /// `store_param_remainders`). 2 bytes more for each element. The parameter is the nearest code,
    /// ties away from zero.
    ///
    /// Where the caller writes a parameter, the remainder stays, up to half a unit in the
    /// parameter's last place; [`Optimizer::write_param`](crate::Optimizer::write_param) writes both.
    Remainder,
    /// Nearly all, for bf16: parameter and a remainder of 8 bits are a number of 24 bits, rounded up or
    /// down by a chance as that of [`Stochastic`](Self::Stochastic) (after FlashOptim's 8-bit weight
    /// correction, arXiv:2602.23349). 1 byte more for each element; otherwise as
    /// [`Remainder`](Self::Remainder).
    Remainder8,
}

impl Precision {
    /// Every precision, in the order of their declaration.
    pub const ALL: &'static [Self] =
        &[Self::Nearest, Self::Stochastic, Self::Master, Self::Remainder, Self::Remainder8];

    /// Its name in config files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Nearest => "nearest",
            Precision::Stochastic => "stochastic",
            Precision::Master => "master",
            Precision::Remainder => "remainder",
            Precision::Remainder8 => "remainder8",
        }
    }

    /// What it is, for a sentence: "a 16-bit remainder".
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Precision::Nearest => "rounding to nearest",
            Precision::Stochastic => "stochastic rounding",
            Precision::Master => "an f32 master copy",
            Precision::Remainder => "a 16-bit remainder",
            Precision::Remainder8 => "an 8-bit remainder",
        }
    }

    /// The formats of a parameter that can be kept so.
    #[must_use]
    pub const fn dtypes(self) -> &'static [Dtype] {
        match self {
            Precision::Nearest => Dtype::ALL,
            Precision::Stochastic | Precision::Master => &[Dtype::F16, Dtype::Bf16],
            Precision::Remainder | Precision::Remainder8 => &[Dtype::Bf16],
        }
    }

    /// Bytes that the engine keeps beside each element.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        match self {
            Precision::Nearest | Precision::Stochastic => 0,
            Precision::Master => 4,
            Precision::Remainder => 2,
            Precision::Remainder8 => 1,
        }
    }
}
