// Gradients in bf16.

fn decode_grad(codes: vec4<u32>) -> vec4<f32> {
    return bf16_decode(codes);
}
