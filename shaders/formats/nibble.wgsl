// The maps of block-wise 4-bit states, torchao's: by arithmetic instead of tables.
//
//   signed     a dynamic map as that of 8 bits, with three decades: 0 is code 7, positive codes follow:
//              0.0055; 0.0325, 0.0775; 0.2125, 0.4375, 0.6625, 0.8875; 1
//              and the same downwards from code 6, without -1
//   unsigned   (code + 1) / 16, which has no 0: of a block that is all zero absmax is 0
//
// Encoding gives the code nearest to value / absmax; what lies in the middle goes to the code of the
// larger magnitude. Magnitudes are compared with the borders times absmax: no division blurs the decision.
// Of a block whose absmax is not finite every code is 1.

fn nibble_decode(codes: vec4<u32>, is_unsigned: bool) -> vec4<f32> {
    if (is_unsigned) {
        return (vec4<f32>(codes) + 1.0) * 0.0625;
    }
    let signed = vec4<i32>(codes) - 7;
    let rank = abs(signed);
    var value = select(vec4<f32>(), vec4<f32>(0.0055), rank >= vec4<i32>(1));
    value = select(value, vec4<f32>(0.0325), rank >= vec4<i32>(2));
    value = select(value, vec4<f32>(0.0775), rank >= vec4<i32>(3));
    value = select(value, vec4<f32>(0.2125), rank >= vec4<i32>(4));
    value = select(value, vec4<f32>(0.4375), rank >= vec4<i32>(5));
    value = select(value, vec4<f32>(0.6625), rank >= vec4<i32>(6));
    value = select(value, vec4<f32>(0.8875), rank >= vec4<i32>(7));
    value = select(value, vec4<f32>(1.0), rank >= vec4<i32>(8));
    return select(value, -value, signed < vec4<i32>());
}

fn nibble_encode(value: vec4<f32>, absmax_bits: u32, is_unsigned: bool) -> vec4<u32> {
    if (absmax_bits >= 0x7f800000u) {
        return vec4<u32>(15u);
    }
    let absmax = bitcast<f32>(absmax_bits);
    if (absmax == 0.0) {
        return vec4<u32>(select(7u, 0u, is_unsigned));
    }
    // Into the middle of f32's range, which changes no quotient.
    var shift = select(1.0, 0x1p+64, absmax < 0x1p-60);
    shift = select(shift, 0x1p-64, absmax > 0x1p+60);
    let magnitude = abs(value) * shift;
    let scale = absmax * shift;
    if (is_unsigned) {
        return nearest_sixteenth(magnitude, scale);
    }
    var rank = at_least(magnitude, 0.00275 * scale);
    rank += at_least(magnitude, 0.019 * scale);
    rank += at_least(magnitude, 0.055 * scale);
    rank += at_least(magnitude, 0.145 * scale);
    rank += at_least(magnitude, 0.325 * scale);
    rank += at_least(magnitude, 0.55 * scale);
    rank += at_least(magnitude, 0.775 * scale);
    let is_one = at_least(magnitude, 0.94375 * scale);
    return select(vec4<u32>(7u) + rank + is_one, vec4<u32>(7u) - rank, value < vec4<f32>());
}

fn at_least(magnitude: vec4<f32>, border: f32) -> vec4<u32> {
    return select(vec4<u32>(), vec4<u32>(1u), magnitude >= vec4<f32>(border));
}

// About, then exactly.
fn nearest_sixteenth(magnitude: vec4<f32>, scale: f32) -> vec4<u32> {
    let about = clamp(floor(magnitude / scale * 16.0 - 0.5), vec4<f32>(), vec4<f32>(15.0));
    let below = (about + 0.5) * 0.0625 * scale;
    let above = (about + 1.5) * 0.0625 * scale;
    var code = select(about, about + 1.0, (magnitude >= above) & (about < vec4<f32>(15.0)));
    code = select(code, about - 1.0, (magnitude < below) & (about > vec4<f32>()));
    return vec4<u32>(code);
}
