// Words of codes and scales as they are, for probes/traffic.wgsl: in the place of words/slot_blocks.wgsl and
// what is joined with it. Each lane loads and stores what it does there, without magnitudes and barriers.

alias StateWord = u32;

// Words of codes and of scales in a tile: 64 or 32, and 1, 2 or 4.
override CODE_WORDS: u32 = 64u;
override SCALE_WORDS: u32 = 1u;
override SLOT_WORDS: u32 = CODE_WORDS + SCALE_WORDS;
const EXACT_WORDS: u32 = 256u;

// A slot of a lane's two vec4s: their words, and the scales'.
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

fn load_words(first: u32, place: Place) -> vec4<f32> {
    let at = first + place.part * 4u;
    return bitcast<vec4<f32>>(vec4<u32>(state[at], state[at + 1u], state[at + 2u], state[at + 3u]));
}

fn store_words(first: u32, place: Place, value: vec4<f32>) {
    let at = first + place.part * 4u;
    let words = bitcast<vec4<u32>>(value);
    state[at] = words.x;
    state[at + 1u] = words.y;
    state[at + 2u] = words.z;
    state[at + 3u] = words.w;
}

// The word of a lane's scale; SCALE_WORDS 4: that of eight lanes.
fn scale_at(first: u32, place: Place) -> u32 {
    return first + CODE_WORDS + select(0u, place.part % 32u / 8u, SCALE_WORDS == 4u);
}

fn load_slot(slot: u32, a: Place, b: Place) -> Both {
    let of_a = first_word(slot, a);
    let of_b = first_word(slot, b);
    if (is_exact(slot)) {
        return Both(load_words(of_a, a), load_words(of_b, b));
    }
    var words_a = vec4<u32>(state[of_a + a.part % CODE_WORDS], state[scale_at(of_a, a)], 0u, 0u);
    if (SCALE_WORDS == 2u) {
        words_a.z = state[scale_at(of_a, a) + 1u];
    }
    var words_b = vec4<u32>();
    if (CODE_WORDS == 64u) {
        words_b.x = state[of_b + b.part % CODE_WORDS];
    }
    return Both(bitcast<vec4<f32>>(words_a), bitcast<vec4<f32>>(words_b));
}

fn bounded(slots: Slots, grad: vec4<f32>) -> Slots {
    return slots;
}

fn store_slots(a: Place, b: Place, of_a: Slots, of_b: Slots, tensor: Tensor) {
    if (a.count == 0u) {
        return;
    }
    if (SLOTS > 0u) {
        store_slot(0u, a, b, Both(of_a.slot0, of_b.slot0));
    }
    if (SLOTS > 1u) {
        store_slot(1u, a, b, Both(of_a.slot1, of_b.slot1));
    }
    if (SLOTS > 2u) {
        store_slot(2u, a, b, Both(of_a.slot2, of_b.slot2));
    }
    if (SLOTS > 3u) {
        store_slot(3u, a, b, Both(of_a.slot3, of_b.slot3));
    }
    if (SLOTS > 4u) {
        store_slot(4u, a, b, Both(of_a.slot4, of_b.slot4));
    }
    if (SLOTS > 5u) {
        store_slot(5u, a, b, Both(of_a.slot5, of_b.slot5));
    }
    if (SLOTS > 6u) {
        store_slot(6u, a, b, Both(of_a.slot6, of_b.slot6));
    }
    if (SLOTS > 7u) {
        store_slot(7u, a, b, Both(of_a.slot7, of_b.slot7));
    }
}

fn store_slot(slot: u32, a: Place, b: Place, value: Both) {
    let of_a = first_word(slot, a);
    let of_b = first_word(slot, b);
    if (is_exact(slot)) {
        store_words(of_a, a, value.a);
        if (b.count != 0u) {
            store_words(of_b, b, value.b);
        }
        return;
    }
    let words_a = bitcast<vec4<u32>>(value.a);
    state[of_a + a.part % CODE_WORDS] = words_a.x;
    if (CODE_WORDS == 64u && b.count != 0u) {
        state[of_b + b.part % CODE_WORDS] = bitcast<vec4<u32>>(value.b).x;
    }
    if (a.part % select(64u, 8u, SCALE_WORDS == 4u) == 0u) {
        state[scale_at(of_a, a)] = words_a.y;
        if (SCALE_WORDS == 2u) {
            state[scale_at(of_a, a) + 1u] = words_a.z;
        }
    }
}
