// State slots in blocks of a few bits for each element: codes, and a scale for each block.
//
//   scale  = of the largest magnitude in the block
//   code   = nearest to value / scale
//   value <- value of the code * scale
//
// The update has used the moments before they are rounded here.
//
// Joined with: a codec (scale_of, decode_codes, encode_codes; to encode, scales are bits, since they may
// be those of infinity or NaN), the size of a code (slot_8 or slot_4: CODE_WORDS, load_codes,
// store_codes) and the size of a block (blocks/: SCALE_WORDS, load_scales, store_scales,
// largest_of_blocks). 256 elements, the frame's block, are CODE_WORDS of codes and SCALE_WORDS of scales
// behind them.
//
// Where a moment is NaN, or infinite because its gradient is, its block's scale is, and so is the whole
// block afterwards. Where a finite gradient left the range of f32 (its square, say), the moment is the
// largest f32 instead: one element does not take its block along.

alias SlotWord = u32;

// The bits of the largest magnitudes in the blocks around a lane's two vec4s, by slot.
struct Largest {
    a: vec4<u32>,
    b: vec4<u32>,
}

// The slots that are never negative: bit n for slot n.
override UNSIGNED_SLOTS: u32 = 0u;

fn is_unsigned(slot: u32) -> bool {
    return ((UNSIGNED_SLOTS >> slot) & 1u) == 1u;
}

fn slot_word(slot: u32, at: u32) -> u32 {
    switch slot {
        case 0u: { return slot0[at]; }
        case 1u: { return slot1[at]; }
        default: { return slot2[at]; }
    }
}

fn set_slot_word(slot: u32, at: u32, word: u32) {
    switch slot {
        case 0u: { slot0[at] = word; }
        case 1u: { slot1[at] = word; }
        default: { slot2[at] = word; }
    }
}

// The first word of the 256 elements around a place.
fn first_word(place: Place) -> u32 {
    return place.home / 64u * (CODE_WORDS + SCALE_WORDS);
}

fn load_slots(a: Place, b: Place) -> BothSlots {
    var slots = BothSlots();
    if (SLOTS > 0u) {
        let scales = load_scales(0u, a, b);
        slots.a.slot0 = load_slot(0u, a, scales.x);
        slots.b.slot0 = load_slot(0u, b, scales.y);
    }
    if (SLOTS > 1u) {
        let scales = load_scales(1u, a, b);
        slots.a.slot1 = load_slot(1u, a, scales.x);
        slots.b.slot1 = load_slot(1u, b, scales.y);
    }
    if (SLOTS > 2u) {
        let scales = load_scales(2u, a, b);
        slots.a.slot2 = load_slot(2u, a, scales.x);
        slots.b.slot2 = load_slot(2u, b, scales.y);
    }
    return slots;
}

fn load_slot(slot: u32, place: Place, scale: f32) -> vec4<f32> {
    return decode_codes(load_codes(slot, place), scale, slot);
}

fn bounded(slots: Slots, grad: vec4<f32>) -> Slots {
    let is_kept = explains_infinity(grad);
    return Slots(
        below_infinity(slots.slot0, is_kept),
        below_infinity(slots.slot1, is_kept),
        below_infinity(slots.slot2, is_kept),
    );
}

fn below_infinity(value: vec4<f32>, is_kept: vec4<bool>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(value);
    let is_infinite = (bits & vec4<u32>(0x7fffffffu)) == vec4<u32>(0x7f800000u);
    // One below the bits of an infinity lies the largest f32 of that sign.
    return bitcast<vec4<f32>>(bits - select(vec4<u32>(), vec4<u32>(1u), is_infinite & !is_kept));
}

fn store_slots(a: Place, b: Place, of_a: Slots, of_b: Slots, tensor: Tensor) {
    let largest = largest_of_blocks(a, magnitudes(of_a, a.count), magnitudes(of_b, b.count));
    if (a.count == 0u) {
        return;
    }
    if (SLOTS > 0u) {
        store_slot(0u, a, b, of_a.slot0, of_b.slot0, vec2<u32>(largest.a.x, largest.b.x));
    }
    if (SLOTS > 1u) {
        store_slot(1u, a, b, of_a.slot1, of_b.slot1, vec2<u32>(largest.a.y, largest.b.y));
    }
    if (SLOTS > 2u) {
        store_slot(2u, a, b, of_a.slot2, of_b.slot2, vec2<u32>(largest.a.z, largest.b.z));
    }
}

// A lane's share of a slot; `largest` are the magnitudes of the blocks that its two vec4s lie in.
fn store_slot(slot: u32, a: Place, b: Place, of_a: vec4<f32>, of_b: vec4<f32>, largest: vec2<u32>) {
    let scale_a = scale_of(largest.x, slot);
    let scale_b = scale_of(largest.y, slot);
    let codes_a = encode_codes(of_a, scale_a, slot);
    let codes_b = encode_codes(of_b, scale_b, slot);
    store_codes(slot, a, b, codes_a, codes_b);
    store_scales(slot, a, scale_a, scale_b);
}

// The bits of the largest magnitude of each slot, among those of the four elements that exist.
fn magnitudes(slots: Slots, count: u32) -> vec4<u32> {
    var bits = vec4<u32>();
    if (SLOTS > 0u) {
        bits.x = magnitude(slots.slot0, count);
    }
    if (SLOTS > 1u) {
        bits.y = magnitude(slots.slot1, count);
    }
    if (SLOTS > 2u) {
        bits.z = magnitude(slots.slot2, count);
    }
    return bits;
}

fn magnitude(value: vec4<f32>, count: u32) -> u32 {
    let exists = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count);
    let bits = bitcast<vec4<u32>>(value) & select(vec4<u32>(), vec4<u32>(0x7fffffffu), exists);
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
