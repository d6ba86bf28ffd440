// Parameters in bf16.

fn decode_param(codes: vec4<u32>) -> vec4<f32> {
    return bf16_decode(codes);
}

fn encode_param(value: vec4<f32>) -> vec4<u32> {
    return bf16_encode(value);
}

fn encode_param_stochastic(value: vec4<f32>, random: vec4<u32>) -> vec4<u32> {
    return bf16_encode_stochastic(value, random);
}
