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

fn load_slots(place: Place) -> Slots {
    var slots = Slots();
    if (SLOTS > 0u) {
        slots.slot0 = bf16_decode(unpack_codes(slot0[place.home]));
    }
    if (SLOTS > 1u) {
        slots.slot1 = bf16_decode(unpack_codes(slot1[place.home]));
    }
    if (SLOTS > 2u) {
        slots.slot2 = bf16_decode(unpack_codes(slot2[place.home]));
    }
    return slots;
}

fn store_slots(a: Place, b: Place, of_a: Slots, of_b: Slots, tensor: Tensor) {
    store(a, of_a, tensor);
    store(b, of_b, tensor);
}

fn store(place: Place, slots: Slots, tensor: Tensor) {
    if (place.count == 0u) {
        return;
    }
    if (SLOTS > 0u) {
        slot0[place.home] = encode_slot(0u, place, slots.slot0, tensor);
    }
    if (SLOTS > 1u) {
        slot1[place.home] = encode_slot(1u, place, slots.slot1, tensor);
    }
    if (SLOTS > 2u) {
        slot2[place.home] = encode_slot(2u, place, slots.slot2, tensor);
    }
}
