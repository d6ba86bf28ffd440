// The norm that an exact sum of squares gives, and the parts of an f32.

// 2^n, n from -126 to 127.
fn power_of_two(n: i32) -> f32 {
    return bitcast<f32>(u32(clamp(n, -126, 127) + 127) << 23u);
}

// The bits of sqrt(total) * unscale * grad_factor, whose parts are multiplied and whose exponents are
// added: nothing leaves the range of f32 on the way. Infinite if the norm itself does, so that
// gradients that are finite only as long as they are scaled are seen.
fn norm_of(total: Total, unscale: f32, grad_factor: f32) -> u32 {
    if (total.not_a_number != 0u) {
        return 0x7fc00000u;
    }
    if (total.infinite != 0u) {
        return 0x7f800000u;
    }
    // The three highest limbs that count, of at least 33 bits.
    var limbs = total.limbs;
    var top = 2u;
    for (var i = 3u; i < LIMBS; i++) {
        top = select(top, i, limbs[i] != 0u);
    }
    let lower = f32(limbs[top - 1u] * 65536u + limbs[top - 2u]);
    let sum = f32(limbs[top]) * 4294967296.0 + lower;
    if (sum == 0.0) {
        return 0u;
    }
    let doubled = 16 * (i32(top) - 2) - 404;
    let root = sqrt(sum * select(1.0, 2.0, (doubled & 1) == 1));
    let mantissa = root * mantissa_of(unscale) * mantissa_of(grad_factor);
    let exponent = (doubled >> 1u) + exponent_of(unscale) + exponent_of(grad_factor);
    if (exponent_of(mantissa) + exponent > 127) {
        return 0x7f800000u;
    }
    let half = exponent / 2;
    return bitcast<u32>(mantissa * power_of_two(half) * power_of_two(exponent - half));
}

fn mantissa_of(value: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(value) & 0x7fffffu) | 0x3f800000u);
}

fn exponent_of(value: f32) -> i32 {
    return i32(bitcast<u32>(value) >> 23u) - 127;
}
