// A sum of squares beyond the range of f32.

struct Partial {
    // The sum is sum * 4^(exponent - 127).
    sum: f32,
    // 2 to 252; or, if such an element was among the summands, INFINITE or NOT_A_NUMBER in the lower MARK_BITS, and the
    // tensor's number above these.
    exponent: u32,
}

const INFINITE: u32 = 255u;
const NOT_A_NUMBER: u32 = 256u;
const MARK_BITS: u32 = 9u;
