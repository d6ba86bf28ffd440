// Whether a sum is a number: by its bits, as a compiler may assume that numbers are finite.

fn sum_is_finite(sum: f32) -> bool {
    return (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
}

// Whether it is also more than 0.
fn sum_is_positive(sum: f32) -> bool {
    let bits = bitcast<u32>(sum);
    return bits != 0u && bits < 0x7f800000u;
}
