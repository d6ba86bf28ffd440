// The gradient that a rule sees: unscaled, clipped to a norm, clipped by value.
//
//   g <- codes * grad_scale * clip_factor
//   g <- min(max(g, -clip_value), clip_value)      with CLIP_VALUE; a NaN stays one
//
// Two factors, not their product: grad_scale is a power of two as a rule, and the product with
// clip_factor could leave the range in which that is exact.

override CLIP_VALUE: bool = false;

fn load_grad(place: Place, tensor: Tensor) -> vec4<f32> {
    let scaled = decode_grad(grad_codes(place.grad, place.count));
    var gradient = (scaled * tensor.grad_scale) * tensor.clip_factor;
    if (CLIP_VALUE) {
        let limit = vec4<f32>(tensor.clip_value);
        let is_nan = (bitcast<vec4<u32>>(gradient) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
        gradient = select(clamp(gradient, -limit, limit), gradient, is_nan);
    }
    return gradient;
}

// Sets the gradient to zero, if this step is to do that; also in a step that is skipped.
fn clear_grad(place: Place, exists: u32, tensor: Tensor) {
    set_grad_codes(place.grad, vec4<u32>(), select(0u, exists, tensor.zero_grad != 0u));
}
