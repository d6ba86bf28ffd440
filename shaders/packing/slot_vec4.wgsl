// State slots with a word for each vec4: what a word holds is the codec's to say.
//
// Joined with: a codec (StateWord, SLOT_WORDS, EXACT_WORDS, load_exact, store_exact; decode_slot,
// encode_slot).

fn load_slots(a: Place, b: Place) -> BothSlots {
    return BothSlots(load(a), load(b));
}

fn load(place: Place) -> Slots {
    var slots = Slots();
    if (SLOTS > 0u) {
        slots.slot0 = load_slot(0u, place);
    }
    if (SLOTS > 1u) {
        slots.slot1 = load_slot(1u, place);
    }
    if (SLOTS > 2u) {
        slots.slot2 = load_slot(2u, place);
    }
    if (SLOTS > 3u) {
        slots.slot3 = load_slot(3u, place);
    }
    if (SLOTS > 4u) {
        slots.slot4 = load_slot(4u, place);
    }
    if (SLOTS > 5u) {
        slots.slot5 = load_slot(5u, place);
    }
    if (SLOTS > 6u) {
        slots.slot6 = load_slot(6u, place);
    }
    if (SLOTS > 7u) {
        slots.slot7 = load_slot(7u, place);
    }
    return slots;
}

fn load_slot(slot: u32, place: Place) -> vec4<f32> {
    let first = first_word(slot, place);
    if (is_exact(slot)) {
        return load_exact(first, place);
    }
    return decode_slot(state[first + place.part]);
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
        store_slot(0u, place, slots.slot0, tensor);
    }
    if (SLOTS > 1u) {
        store_slot(1u, place, slots.slot1, tensor);
    }
    if (SLOTS > 2u) {
        store_slot(2u, place, slots.slot2, tensor);
    }
    if (SLOTS > 3u) {
        store_slot(3u, place, slots.slot3, tensor);
    }
    if (SLOTS > 4u) {
        store_slot(4u, place, slots.slot4, tensor);
    }
    if (SLOTS > 5u) {
        store_slot(5u, place, slots.slot5, tensor);
    }
    if (SLOTS > 6u) {
        store_slot(6u, place, slots.slot6, tensor);
    }
    if (SLOTS > 7u) {
        store_slot(7u, place, slots.slot7, tensor);
    }
}

fn store_slot(slot: u32, place: Place, value: vec4<f32>, tensor: Tensor) {
    if (!is_stored(slot)) {
        return;
    }
    let first = first_word(slot, place);
    if (is_exact(slot)) {
        store_exact(first, place, value);
    } else {
        state[first + place.part] = encode_slot(slot, place, value, tensor);
    }
}
