// State of 16 bits an element, four codes to a word; a vec4 of an exact slot has two words.

alias StateWord = vec2<u32>;

const SLOT_WORDS: u32 = 64u;
const EXACT_WORDS: u32 = 128u;

fn load_exact(first: u32, place: Place) -> vec4<f32> {
    let at = first + place.part * 2u;
    return bitcast<vec4<f32>>(vec4<u32>(state[at], state[at + 1u]));
}

fn store_exact(first: u32, place: Place, value: vec4<f32>) {
    let at = first + place.part * 2u;
    let words = bitcast<vec4<u32>>(value);
    state[at] = words.xy;
    state[at + 1u] = words.zw;
}
