// State slots in blocks of a few bits for each element: codes, and a scale for each block.
//
//   scale  = of the largest magnitude in the block
//   code   = nearest to value / scale
//   value <- value of the code * scale
//
// The update has used the moments before they are rounded here.
//
// Joined with: packing/state_codes.wgsl; a codec (scale_of, decode_codes, encode_codes; to encode, scales are bits, since they may
// be those of infinity or NaN, and four codes are a word, packed), the size of a code (slot_8 or slot_4: CODE_WORDS, load_codes,
// store_codes) and the size of a block (blocks/: SCALE_WORDS, load_scales, store_scales,
// largest_of_blocks). 256 elements, the frame's block, are CODE_WORDS of codes and SCALE_WORDS of scales
// behind them. An exact slot's words are those of f32.
//
// Where a moment is NaN, or infinite because its gradient is, its block's scale is, and so is the whole
// block afterwards. Where a finite gradient left the range of f32 (its square, say), the moment is the
// largest f32 instead: one element does not take its block along.

const SLOT_WORDS: u32 = CODE_WORDS + SCALE_WORDS;

// The bits of the largest magnitudes in the blocks around a lane's two vec4s, of four slots; with one vec4 a lane, `b` is
// the block 128 elements behind the first.
struct Largest {
    a: vec4<u32>,
    b: vec4<u32>,
}

// The slots that are never negative: bit n for slot n.
override UNSIGNED_SLOTS: u32 = 0u;

fn is_unsigned(slot: u32) -> bool {
    return ((UNSIGNED_SLOTS >> slot) & 1u) == 1u;
}

fn load_slot(slot: u32, a: Place, b: Place) -> Both {
    let of_a = first_word(slot, a);
    let of_b = first_word(slot, b);
    if (is_exact(slot)) {
        return Both(load_exact(of_a, a), load_exact(of_b, b));
    }
    let scales = load_scales(of_a, a);
    return Both(
        decode_codes(load_codes(of_a, a), scales.x, slot),
        decode_codes(load_codes(of_b, b), scales.y, slot),
    );
}

fn bounded(slots: Slots, grad: vec4<f32>) -> Slots {
    let is_kept = explains_infinity(grad);
    return Slots(
        below_infinity(0u, slots.slot0, is_kept),
        below_infinity(1u, slots.slot1, is_kept),
        below_infinity(2u, slots.slot2, is_kept),
        below_infinity(3u, slots.slot3, is_kept),
        below_infinity(4u, slots.slot4, is_kept),
        below_infinity(5u, slots.slot5, is_kept),
        below_infinity(6u, slots.slot6, is_kept),
        below_infinity(7u, slots.slot7, is_kept),
        slots.row,
        slots.column,
    );
}

// (What is exact shares no scale, and is as infinite as the parameter.)
fn below_infinity(slot: u32, value: vec4<f32>, is_kept: vec4<bool>) -> vec4<f32> {
    if (is_exact(slot)) {
        return value;
    }
    let bits = bitcast<vec4<u32>>(value);
    // (What is never negative needs no mask.)
    let magnitude = bits & vec4<u32>(select(0x7fffffffu, 0xffffffffu, is_unsigned(slot)));
    let is_infinite = magnitude == vec4<u32>(0x7f800000u);
    // One below the bits of an infinity lies the largest f32 of that sign.
    return bitcast<vec4<f32>>(bits - select(vec4<u32>(), vec4<u32>(1u), is_infinite & !is_kept));
}

// Four slots at a time: these share the barriers.
fn store_slots(a: Place, b: Place, of_a: Slots, of_b: Slots, tensor: Tensor) {
    store_first_four(a, b, of_a, of_b);
    if (SLOTS > 4u) {
        // Until all have read what is overwritten now.
        workgroupBarrier();
        store_last_four(a, b, of_a, of_b);
    }
}

fn store_first_four(a: Place, b: Place, of_a: Slots, of_b: Slots) {
    let largest = largest_of_blocks(a, first_magnitudes(of_a, a.count), first_magnitudes(of_b, b.count));
    if (SLOTS > 0u) {
        store_slot(0u, a, b, Both(of_a.slot0, of_b.slot0), vec2<u32>(largest.a.x, largest.b.x));
    }
    if (SLOTS > 1u) {
        store_slot(1u, a, b, Both(of_a.slot1, of_b.slot1), vec2<u32>(largest.a.y, largest.b.y));
    }
    if (SLOTS > 2u) {
        store_slot(2u, a, b, Both(of_a.slot2, of_b.slot2), vec2<u32>(largest.a.z, largest.b.z));
    }
    if (SLOTS > 3u) {
        store_slot(3u, a, b, Both(of_a.slot3, of_b.slot3), vec2<u32>(largest.a.w, largest.b.w));
    }
}

fn store_last_four(a: Place, b: Place, of_a: Slots, of_b: Slots) {
    let largest = largest_of_blocks(a, last_magnitudes(of_a, a.count), last_magnitudes(of_b, b.count));
    if (SLOTS > 4u) {
        store_slot(4u, a, b, Both(of_a.slot4, of_b.slot4), vec2<u32>(largest.a.x, largest.b.x));
    }
    if (SLOTS > 5u) {
        store_slot(5u, a, b, Both(of_a.slot5, of_b.slot5), vec2<u32>(largest.a.y, largest.b.y));
    }
    if (SLOTS > 6u) {
        store_slot(6u, a, b, Both(of_a.slot6, of_b.slot6), vec2<u32>(largest.a.z, largest.b.z));
    }
    if (SLOTS > 7u) {
        store_slot(7u, a, b, Both(of_a.slot7, of_b.slot7), vec2<u32>(largest.a.w, largest.b.w));
    }
}

// A lane's share of a slot; `largest` are the magnitudes of the blocks that its two vec4s lie in. (store_codes may wait
// for other lanes: lanes without elements call it too.)
fn store_slot(slot: u32, a: Place, b: Place, value: Both, largest: vec2<u32>) {
    if (!is_stored(slot)) {
        return;
    }
    let of_a = first_word(slot, a);
    let of_b = first_word(slot, b);
    if (is_exact(slot)) {
        if (a.count != 0u) {
            store_exact(of_a, a, value.a);
        }
        if (b.count != 0u) {
            store_exact(of_b, b, value.b);
        }
        return;
    }
    let scale_a = scale_of(largest.x, slot);
    let scale_b = scale_of(largest.y, slot);
    let codes_a = encode_codes(value.a, scale_a, slot);
    let codes_b = encode_codes(value.b, scale_b, slot);
    store_codes(vec2<u32>(of_a, of_b), a, b, codes_a, codes_b);
    if (a.count != 0u) {
        store_scales(of_a, a, scale_a, scale_b);
    }
}

// The bits of the largest magnitude of each slot, among those of the four elements that exist.
fn first_magnitudes(slots: Slots, count: u32) -> vec4<u32> {
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
    if (SLOTS > 3u) {
        bits.w = magnitude(slots.slot3, count);
    }
    return bits;
}

fn last_magnitudes(slots: Slots, count: u32) -> vec4<u32> {
    var bits = vec4<u32>();
    if (SLOTS > 4u) {
        bits.x = magnitude(slots.slot4, count);
    }
    if (SLOTS > 5u) {
        bits.y = magnitude(slots.slot5, count);
    }
    if (SLOTS > 6u) {
        bits.z = magnitude(slots.slot6, count);
    }
    if (SLOTS > 7u) {
        bits.w = magnitude(slots.slot7, count);
    }
    return bits;
}

fn magnitude(value: vec4<f32>, count: u32) -> u32 {
    let exists = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count);
    let bits = bitcast<vec4<u32>>(value) & select(vec4<u32>(), vec4<u32>(0x7fffffffu), exists);
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
