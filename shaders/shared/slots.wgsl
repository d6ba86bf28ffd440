// The state of four elements, slot by slot; a slot that the rule does not keep is zero.

struct Slots {
    slot0: vec4<f32>,
    slot1: vec4<f32>,
    slot2: vec4<f32>,
}

// Of a lane's two vec4s.
struct BothSlots {
    a: Slots,
    b: Slots,
}

// How many slots the rule keeps.
override SLOTS: u32 = 0u;
