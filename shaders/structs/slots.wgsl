// The state of four elements, slot by slot; a slot that the rule does not keep is zero. Behind the slots what the
// rule keeps of the elements' rows and columns, which is read here and never written.

struct Slots {
    slot0: vec4<f32>,
    slot1: vec4<f32>,
    slot2: vec4<f32>,
    slot3: vec4<f32>,
    slot4: vec4<f32>,
    slot5: vec4<f32>,
    slot6: vec4<f32>,
    slot7: vec4<f32>,
    row: vec4<f32>,
    column: vec4<f32>,
}

// Of a lane's two vec4s.
struct BothSlots {
    a: Slots,
    b: Slots,
}
