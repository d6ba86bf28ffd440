// An exact sum of partials: of squares as large and as small as f32 has them.

const LIMBS: u32 = 44u;
const NO_TENSOR: u32 = 0xffffffffu;

struct Total {
    // The sum is that of limbs[i] * 2^(16 i - 404), each below 2^16.
    limbs: array<u32, 44>,
    // The exponent of the largest magnitude, as control/measure.wgsl has it.
    largest: u32,
    // Rows with an infinite element, and with a NaN.
    infinite: u32,
    not_a_number: u32,
    // The first tensor with such a row.
    not_finite: u32,
}
