// The gradient that a rule sees: unscaled, clipped to a norm, clipped by value.
//
//   g <- codes * grad_scale * clip_factor
//   g <- min(max(g, -clip_value), clip_value)      with CLIP_VALUE; a NaN stays one
//
// Two factors, not their product: grad_scale is a power of two as a rule, and the product with
// clip_factor could leave the range in which that is exact.
//
// What is not a number is looked for in the codes and factors as they lie in memory: of the result of an
// operation a compiler may assume that it is one.

override CLIP_VALUE: bool = false;
// Whether a step may set gradients to zero.
override ZERO_GRADS: bool = false;

fn load_grad(place: Place, tensor: Tensor) -> vec4<f32> {
    let scaled = decode_grad(grad_codes(place.grad, place.count));
    let gradient = (scaled * tensor.grad_scale) * tensor.clip_factor;
    if (CLIP_VALUE) {
        let limit = vec4<f32>(hypers.clip_value);
        let magnitude = bitcast<vec4<u32>>(scaled) & vec4<u32>(0x7fffffffu);
        let factor = bitcast<u32>(tensor.clip_factor) & 0x7fffffffu;
        // An infinity times a factor of 0 is none either.
        let is_nan = (magnitude > vec4<u32>(0x7f800000u))
            | vec4<bool>(factor > 0x7f800000u)
            | ((magnitude == vec4<u32>(0x7f800000u)) & vec4<bool>(factor == 0u));
        return select(clamp(gradient, -limit, limit), gradient, is_nan);
    }
    return gradient;
}

// Whether an infinite state is the gradient's own doing, and stays: a gradient that is not finite.
fn explains_infinity(grad: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(grad) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}

// Sets the gradient to zero, if this step is to do that; also in a step that is skipped.
fn clear_grad(place: Place, exists: u32, tensor: Tensor) {
    if (ZERO_GRADS) {
        set_grad_codes(place.grad, vec4<u32>(), select(0u, exists, (tensor.hyper & ZERO_GRAD) != 0u));
    }
}
