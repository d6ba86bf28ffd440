//! Formats of optimizer state.

/// The format of optimizer state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateFormat {
    /// f32.
    #[default]
    F32,
    /// bf16 with stochastic rounding: half the memory. Moments change by less than half of their last
    /// bit in most steps, which rounding to nearest would lose.
    Bf16,
    /// Eight bits: blocks of 256 elements with a dynamic code for each and one f32 for the block
    /// (Dettmers et al., *8-bit Optimizers via Block-wise Quantization*, 2022). 2.03 bytes instead of 8 for
    /// the two moments of Adam. First moments have bitsandbytes' signed code book, second moments its
    /// unsigned one; parameters are updated from the moments before these are rounded.
    ///
    /// Codes are the nearest, ties to the larger magnitude. A negative value never becomes 0, and
    /// neither does a second moment above 0: bitsandbytes rounds that to 0, and its next update is
    /// m / eps. If a moment is infinite or NaN, so is its whole block afterwards: look for overflow
    /// ([`Options::skip_non_finite`](crate::Options::skip_non_finite)) to skip such steps.
    Int8,
    /// Four bits: blocks of 128 elements with torchao's maps (Li et al., *Memory Efficient Optimizers
    /// with 4-bit States*, 2023), one f32 for the block. 1.06 bytes for the two moments of Adam. Codes
    /// are the nearest, ties to the larger magnitude.
    Int4,
    /// fp8: blocks of 256 elements with an e4m3 number each, and one f32 that brings the block's
    /// largest magnitude to 448, as torchao's `OptimStateFp8`. 2.03 bytes for the two moments of Adam. Codes
    /// are the nearest, ties to the even one; a second moment above 0 never becomes 0.
    Fp8,
    /// Eight companded bits: blocks of 32 elements with an integer each and one bf16 for the block; first
    /// moments through 2x / (1 + |x|), second moments by their square roots (FlashOptim,
    /// arXiv:2602.23349, which keeps an f16 for the block). 2.13 bytes for the two moments of Adam. A second
    /// moment above 0 never becomes 0.
    Companded,
}

impl StateFormat {
    /// Every format, in the order of their declaration.
    pub const ALL: &'static [Self] =
        &[Self::F32, Self::Bf16, Self::Int8, Self::Int4, Self::Fp8, Self::Companded];

    /// Its name in config files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            StateFormat::F32 => "f32",
            StateFormat::Bf16 => "bf16",
            StateFormat::Int8 => "int8",
            StateFormat::Int4 => "int4",
            StateFormat::Fp8 => "fp8",
            StateFormat::Companded => "companded",
        }
    }

    /// Bytes of a tensor of this length in one slot, without padding that nothing needs.
    #[must_use]
    pub const fn size_bytes(self, len_elems: u64) -> u64 {
        match self.scales() {
            None => self.codes_size_bytes(len_elems),
            Some(_) => self.blocks_size_bytes(len_elems),
        }
    }
}
