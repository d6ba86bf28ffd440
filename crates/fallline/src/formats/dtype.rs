//! Formats of parameters and gradients.

/// The format of elements in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
}

impl Dtype {
    /// Every format, in the order of their declaration.
    pub const ALL: &'static [Self] = &[Self::F32, Self::F16, Self::Bf16];

    /// Its name in config files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// Bytes of four elements: what a tensor's offset must be a multiple of.
    pub(crate) const fn vec4_bytes(self) -> u64 {
        4 * self.size_bytes()
    }
}
