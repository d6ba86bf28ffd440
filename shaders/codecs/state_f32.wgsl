// State slots in f32, four elements to a word.

alias SlotWord = vec4<f32>;

fn load_slot0(place: Place) -> vec4<f32> {
    return slot0[place.home];
}

fn load_slot1(place: Place) -> vec4<f32> {
    return slot1[place.home];
}

fn load_slot2(place: Place) -> vec4<f32> {
    return slot2[place.home];
}

fn store_slot0(a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, tensor: Tensor) {
    if (a.count != 0u) {
        slot0[a.home] = of_a;
    }
    if (b.count != 0u) {
        slot0[b.home] = of_b;
    }
}

fn store_slot1(a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, tensor: Tensor) {
    if (a.count != 0u) {
        slot1[a.home] = of_a;
    }
    if (b.count != 0u) {
        slot1[b.home] = of_b;
    }
}

fn store_slot2(a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, tensor: Tensor) {
    if (a.count != 0u) {
        slot2[a.home] = of_a;
    }
    if (b.count != 0u) {
        slot2[b.home] = of_b;
    }
}
