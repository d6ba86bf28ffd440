// State slots with a word for each vec4: what a word holds is the codec's to say.
//
// Joined with: a codec (SlotWord, decode_slot, encode_slot).

fn load_slots(a: Place, b: Place) -> BothSlots {
    return BothSlots(load(a), load(b));
}

fn load(place: Place) -> Slots {
    var slots = Slots();
    if (SLOTS > 0u) {
        slots.slot0 = decode_slot(slot0[place.home]);
    }
    if (SLOTS > 1u) {
        slots.slot1 = decode_slot(slot1[place.home]);
    }
    if (SLOTS > 2u) {
        slots.slot2 = decode_slot(slot2[place.home]);
    }
    return slots;
}

// An infinite state is its element's only.
fn bounded(slots: Slots, grad: vec4<f32>) -> Slots {
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
