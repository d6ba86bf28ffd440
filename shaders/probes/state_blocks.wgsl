// Words of codes and scales as they are, for probes/traffic.wgsl: in the place of packing/slot_blocks.wgsl and
// what is joined with it, but packing/state_codes.wgsl. Each lane loads and stores what it does there, without magnitudes and barriers.

// Words of codes and of scales in a tile: 64 or 32, and 1, 2 or 4.
override CODE_WORDS: u32 = 64u;
override SCALE_WORDS: u32 = 1u;
override SLOT_WORDS: u32 = CODE_WORDS + SCALE_WORDS;

// The word of a lane's scale; SCALE_WORDS 4: that of eight lanes.
fn scale_at(first: u32, place: Place) -> u32 {
    return first + CODE_WORDS + select(0u, place.part % 32u / 8u, SCALE_WORDS == 4u);
}

fn load_slot(slot: u32, a: Place, b: Place) -> Both {
    let of_a = first_word(slot, a);
    let of_b = first_word(slot, b);
    if (is_exact(slot)) {
        return Both(load_exact(of_a, a), load_exact(of_b, b));
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
        store_exact(of_a, a, value.a);
        if (b.count != 0u) {
            store_exact(of_b, b, value.b);
        }
        return;
    }
    let words_a = bitcast<vec4<u32>>(value.a);
    // (The word of two vec4s is that of the first.)
    if (a.part < CODE_WORDS) {
        state[of_a + a.part] = words_a.x;
    }
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
