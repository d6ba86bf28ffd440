// State slots in bf16, four elements to a word, rounded stochastically: moments change by less than
// half of their last bit in most steps (with beta2 = 0.999, by a thousandth of what a gradient adds),
// which rounding to nearest would lose.
//
// The chance is a function of seed, tensor, step, element and slot, as in precision/stochastic.wgsl.

alias SlotWord = vec2<u32>;

fn encode_slot(slot: u32, place: Place, value: vec4<f32>, tensor: Tensor) -> vec2<u32> {
    let seed = tensor.seed ^ (0x9e3779b9u * (slot + 1u));
    let random = noise(vec4<u32>(place.index, tensor.number, tensor.step, seed));
    return pack_codes(bf16_encode_stochastic(value, random));
}

fn load_slot0(place: Place) -> vec4<f32> {
    return bf16_decode(unpack_codes(slot0[place.home]));
}

fn load_slot1(place: Place) -> vec4<f32> {
    return bf16_decode(unpack_codes(slot1[place.home]));
}

fn load_slot2(place: Place) -> vec4<f32> {
    return bf16_decode(unpack_codes(slot2[place.home]));
}

fn store_slot0(a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, tensor: Tensor) {
    if (a.count != 0u) {
        slot0[a.home] = encode_slot(0u, a, of_a, tensor);
    }
    if (b.count != 0u) {
        slot0[b.home] = encode_slot(0u, b, of_b, tensor);
    }
}

fn store_slot1(a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, tensor: Tensor) {
    if (a.count != 0u) {
        slot1[a.home] = encode_slot(1u, a, of_a, tensor);
    }
    if (b.count != 0u) {
        slot1[b.home] = encode_slot(1u, b, of_b, tensor);
    }
}

fn store_slot2(a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, tensor: Tensor) {
    if (a.count != 0u) {
        slot2[a.home] = encode_slot(2u, a, of_a, tensor);
    }
    if (b.count != 0u) {
        slot2[b.home] = encode_slot(2u, b, of_b, tensor);
    }
}
