// The state of four elements, slot by slot; a slot that the rule does not keep is zero.

struct Slots {
    slot0: vec4<f32>,
    slot1: vec4<f32>,
    slot2: vec4<f32>,
    slot3: vec4<f32>,
    slot4: vec4<f32>,
    slot5: vec4<f32>,
    slot6: vec4<f32>,
    slot7: vec4<f32>,
}

// Of a lane's two vec4s.
struct BothSlots {
    a: Slots,
    b: Slots,
}
