// State of less than 16 bits an element, in single words; a vec4 of an exact slot has four.
//
// Joined with: load_slot(slot, a, b) -> Both.

alias StateWord = u32;

const EXACT_WORDS: u32 = 256u;

fn load_exact(first: u32, place: Place) -> vec4<f32> {
    let at = first + place.part * 4u;
    return bitcast<vec4<f32>>(vec4<u32>(state[at], state[at + 1u], state[at + 2u], state[at + 3u]));
}

fn store_exact(first: u32, place: Place, value: vec4<f32>) {
    let at = first + place.part * 4u;
    let words = bitcast<vec4<u32>>(value);
    state[at] = words.x;
    state[at + 1u] = words.y;
    state[at + 2u] = words.z;
    state[at + 3u] = words.w;
}

// A slot of a lane's two vec4s.
struct Both {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn load_slots(a: Place, b: Place) -> BothSlots {
    var slots = BothSlots();
    if (SLOTS > 0u) {
        let both = load_slot(0u, a, b);
        slots.a.slot0 = both.a;
        slots.b.slot0 = both.b;
    }
    if (SLOTS > 1u) {
        let both = load_slot(1u, a, b);
        slots.a.slot1 = both.a;
        slots.b.slot1 = both.b;
    }
    if (SLOTS > 2u) {
        let both = load_slot(2u, a, b);
        slots.a.slot2 = both.a;
        slots.b.slot2 = both.b;
    }
    if (SLOTS > 3u) {
        let both = load_slot(3u, a, b);
        slots.a.slot3 = both.a;
        slots.b.slot3 = both.b;
    }
    if (SLOTS > 4u) {
        let both = load_slot(4u, a, b);
        slots.a.slot4 = both.a;
        slots.b.slot4 = both.b;
    }
    if (SLOTS > 5u) {
        let both = load_slot(5u, a, b);
        slots.a.slot5 = both.a;
        slots.b.slot5 = both.b;
    }
    if (SLOTS > 6u) {
        let both = load_slot(6u, a, b);
        slots.a.slot6 = both.a;
        slots.b.slot6 = both.b;
    }
    if (SLOTS > 7u) {
        let both = load_slot(7u, a, b);
        slots.a.slot7 = both.a;
        slots.b.slot7 = both.b;
    }
    return slots;
}
