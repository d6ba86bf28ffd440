// Gradients in f16.

fn decode_grad(codes: vec4<u32>) -> vec4<f32> {
    return f16_decode(codes);
}
