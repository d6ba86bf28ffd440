// State slots in bf16, rounded stochastically: moments change by less than
// half of their last bit in most steps (with beta2 = 0.999, by a thousandth of what a gradient adds),
// which rounding to nearest would lose.
//
// Joined with: packing/state_16.wgsl, packing/slot_vec4.wgsl.
//
// The chance is a function of seed, tensor, step, element and slot, as in precision/stochastic.wgsl.

// Otherwise to nearest, ties to even: for conversions that are not steps.
override STOCHASTIC_SLOTS: bool = true;

fn decode_slot(word: vec2<u32>) -> vec4<f32> {
    return bf16_decode(unpack_codes(word));
}

fn encode_slot(slot: u32, place: Place, value: vec4<f32>, tensor: Tensor) -> vec2<u32> {
    if (!STOCHASTIC_SLOTS) {
        return pack_codes(bf16_encode(value));
    }
    let seed = hypers.seed ^ (0x9e3779b9u * (slot + 1u));
    let random = noise(vec4<u32>(place.index, tensor.number, tensor.step, seed));
    return pack_codes(bf16_encode_stochastic(value, random));
}
