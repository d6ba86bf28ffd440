//! Formats of parameters and gradients, and their conversions on the host.

use half::{bf16, f16};

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

    /// The bits of the number nearest to a value, ties to the even one; NaN stays NaN.
    #[must_use]
    pub fn code(self, value: f32) -> u32 {
        match self {
            Dtype::F32 => value.to_bits(),
            Dtype::F16 => f16::from_f32(value).to_bits().into(),
            Dtype::Bf16 => bf16::from_f32(value).to_bits().into(),
        }
    }

    /// The value of these bits, of which a format of 16 takes the lower half.
    #[must_use]
    pub fn value(self, code: u32) -> f32 {
        let [low, high, ..] = code.to_le_bytes();
        match self {
            Dtype::F32 => f32::from_bits(code),
            Dtype::F16 => f16::from_le_bytes([low, high]).to_f32(),
            Dtype::Bf16 => bf16::from_le_bytes([low, high]).to_f32(),
        }
    }

    /// The bytes of these values in the format, little-endian, each as [`code`](Self::code) has it.
    #[must_use]
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        let codes = values.iter().map(|value| self.code(*value).to_le_bytes());
        match self {
            Dtype::F32 => codes.flatten().collect(),
            Dtype::F16 | Dtype::Bf16 => codes.flat_map(|[low, high, ..]| [low, high]).collect(),
        }
    }

    /// The values of these bytes, without those that are no whole element.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let halves = |&[low, high]: &[u8; 2]| self.value(u32::from_le_bytes([low, high, 0, 0]));
        match self {
            Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 | Dtype::Bf16 => bytes.as_chunks::<2>().0.iter().map(halves).collect(),
        }
    }

    /// Bytes of four elements: what a tensor's offset must be a multiple of.
    pub(crate) const fn vec4_bytes(self) -> u64 {
        4 * self.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_codes_have_their_codes() {
        for dtype in [Dtype::F16, Dtype::Bf16] {
            for code in 0..1 << 16 {
                let value = dtype.value(code);
                assert!(value.is_nan() || dtype.code(value) == code, "{dtype} {code:#x}");
            }
            assert!(dtype.value(dtype.code(f32::NAN)).is_nan());
        }
        assert_eq!(Dtype::F16.code(65520.0), 0x7c00, "a tie goes to the even one, infinity");
        assert_eq!(Dtype::Bf16.code(f32::from_bits(0x3f80_8000)), 0x3f80);
    }

    #[test]
    fn bytes_are_little_endian_and_whole_elements() {
        assert_eq!(Dtype::Bf16.encode(&[1.0, -2.0]), [0x80, 0x3f, 0x00, 0xc0]);
        for dtype in Dtype::ALL {
            let mut bytes = dtype.encode(&[1.5, -0.0, f32::INFINITY]);
            assert_eq!(bytes.len() as u64, 3 * dtype.size_bytes());
            bytes.push(1);
            assert_eq!(dtype.decode(&bytes), [1.5, -0.0, f32::INFINITY]);
        }
    }
}
