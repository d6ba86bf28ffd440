// A sum of squares beyond the range of f32.

struct Partial {
    // The sum is sum * 4^(exponent - 127).
    sum: f32,
    // 2 to 252, or INFINITE or NOT_A_NUMBER if such an element was among the summands.
    exponent: u32,
}

const INFINITE: u32 = 255u;
const NOT_A_NUMBER: u32 = 256u;
