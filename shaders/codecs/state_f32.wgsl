// State slots in f32, four elements to a word.

alias SlotWord = vec4<f32>;

fn load_slot0(at: u32) -> vec4<f32> {
    return slot0[at];
}

fn load_slot1(at: u32) -> vec4<f32> {
    return slot1[at];
}

fn load_slot2(at: u32) -> vec4<f32> {
    return slot2[at];
}

fn store_slot0(at: u32, value: vec4<f32>, count: u32) {
    if (count != 0u) {
        slot0[at] = value;
    }
}

fn store_slot1(at: u32, value: vec4<f32>, count: u32) {
    if (count != 0u) {
        slot1[at] = value;
    }
}

fn store_slot2(at: u32, value: vec4<f32>, count: u32) {
    if (count != 0u) {
        slot2[at] = value;
    }
}
