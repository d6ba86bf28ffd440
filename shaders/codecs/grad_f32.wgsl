// Gradients in f32.

fn decode_grad(codes: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(codes);
}
