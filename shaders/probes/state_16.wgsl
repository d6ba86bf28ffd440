// State words of 16 bits an element as they are, for probes/traffic.wgsl: in the place of
// codecs/state_bf16.wgsl.

fn decode_slot(word: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(bitcast<vec2<f32>>(word), vec2<f32>());
}

fn encode_slot(slot: u32, place: Place, value: vec4<f32>, tensor: Tensor) -> vec2<u32> {
    return bitcast<vec4<u32>>(value).xy;
}
