// State slots in f32.

alias SlotWord = vec4<f32>;

fn decode_slot(word: vec4<f32>) -> vec4<f32> {
    return word;
}

fn encode_slot(slot: u32, place: Place, value: vec4<f32>, tensor: Tensor) -> vec4<f32> {
    return value;
}
