// State slots in f32, four elements to a word.

alias SlotWord = vec4<f32>;

fn load_slots(place: Place) -> Slots {
    var slots = Slots();
    if (SLOTS > 0u) {
        slots.slot0 = slot0[place.home];
    }
    if (SLOTS > 1u) {
        slots.slot1 = slot1[place.home];
    }
    if (SLOTS > 2u) {
        slots.slot2 = slot2[place.home];
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
        slot0[place.home] = slots.slot0;
    }
    if (SLOTS > 1u) {
        slot1[place.home] = slots.slot1;
    }
    if (SLOTS > 2u) {
        slot2[place.home] = slots.slot2;
    }
}
