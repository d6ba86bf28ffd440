// Parameters in f32.

fn decode_param(codes: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(codes);
}

fn encode_param(value: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(value);
}
