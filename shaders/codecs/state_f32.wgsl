// State slots in f32.

alias StateWord = vec4<f32>;

const SLOT_WORDS: u32 = 64u;
const EXACT_WORDS: u32 = 64u;

fn load_exact(first: u32, place: Place) -> vec4<f32> {
    return state[first + place.part];
}

fn store_exact(first: u32, place: Place, value: vec4<f32>) {
    state[first + place.part] = value;
}

fn decode_slot(word: vec4<f32>) -> vec4<f32> {
    return word;
}

fn encode_slot(slot: u32, place: Place, value: vec4<f32>, tensor: Tensor) -> vec4<f32> {
    return value;
}
