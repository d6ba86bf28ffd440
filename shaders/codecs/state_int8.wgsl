// State slots in eight bits: blocks of 256 elements with a dynamic code each, and the block's largest
// magnitude, absmax, in f32 (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization").
//
//   code   = nearest of the book to value / absmax
//   value <- book[code] * absmax
//
// A slot's block is 64 words of four codes, and absmax behind them: 260 bytes. First moments have the
// signed book, second moments the unsigned one. The update has used the moments before they are
// rounded here.
//
// Where a moment is infinite or not a number, absmax is, and the whole block decodes to such.

alias SlotWord = u32;

// The slots that are never negative: bit n for slot n.
override UNSIGNED_SLOTS: u32 = 0u;

const BLOCK_WORDS: u32 = 65u;

fn kind_of(slot: u32) -> u32 {
    return (UNSIGNED_SLOTS >> slot) & 1u;
}

// The word of a vec4, and that of its block's absmax.
fn code_word(place: Place) -> u32 {
    return place.home / 64u * BLOCK_WORDS + place.home % 64u;
}

fn absmax_word(place: Place) -> u32 {
    return place.home / 64u * BLOCK_WORDS + 64u;
}

fn decode_word(word: u32, absmax: u32, slot: u32) -> vec4<f32> {
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    return dynamic_decode(codes, kind_of(slot)) * bitcast<f32>(absmax);
}

fn encode_word(value: vec4<f32>, absmax: u32, slot: u32) -> u32 {
    let codes = dynamic_encode(value, bitcast<f32>(absmax), kind_of(slot)) << vec4<u32>(0u, 8u, 16u, 24u);
    return (codes.x | codes.y) | (codes.z | codes.w);
}

fn load_slots(place: Place) -> Slots {
    let word = code_word(place);
    let absmax = absmax_word(place);
    var slots = Slots();
    if (SLOTS > 0u) {
        slots.slot0 = decode_word(slot0[word], slot0[absmax], 0u);
    }
    if (SLOTS > 1u) {
        slots.slot1 = decode_word(slot1[word], slot1[absmax], 1u);
    }
    if (SLOTS > 2u) {
        slots.slot2 = decode_word(slot2[word], slot2[absmax], 2u);
    }
    return slots;
}

// The largest magnitude of each slot, by lane and by four lanes.
var<workgroup> lane_max: array<vec4<u32>, WORKGROUP_SIZE>;
var<workgroup> quad_max: array<vec4<u32>, WORKGROUP_SIZE>;

// The bits of the largest magnitude among those of the four elements that exist.
fn largest(value: vec4<f32>, count: u32) -> u32 {
    let exists = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count);
    let bits = bitcast<vec4<u32>>(value) & select(vec4<u32>(), vec4<u32>(0x7fffffffu), exists);
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

fn store_slots(a: Place, b: Place, of_a: Slots, of_b: Slots, tensor: Tensor) {
    lane_max[a.lane] = vec4<u32>(
        max(largest(of_a.slot0, a.count), largest(of_b.slot0, b.count)),
        max(largest(of_a.slot1, a.count), largest(of_b.slot1, b.count)),
        max(largest(of_a.slot2, a.count), largest(of_b.slot2, b.count)),
        0u,
    );
    // 32 lanes, then 8, then 1: two barriers for all slots.
    workgroupBarrier();
    let block = a.lane / BLOCK_LANES;
    let lane = a.lane % BLOCK_LANES;
    if (lane < 8u) {
        let at = block * BLOCK_LANES + lane * 4u;
        quad_max[block * 8u + lane] =
            max(max(lane_max[at], lane_max[at + 1u]), max(lane_max[at + 2u], lane_max[at + 3u]));
    }
    workgroupBarrier();
    let at = block * 8u;
    let absmax = max(
        max(max(quad_max[at], quad_max[at + 1u]), max(quad_max[at + 2u], quad_max[at + 3u])),
        max(max(quad_max[at + 4u], quad_max[at + 5u]), max(quad_max[at + 6u], quad_max[at + 7u])),
    );
    store(a, of_a, absmax);
    store(b, of_b, absmax);
}

fn store(place: Place, slots: Slots, absmax: vec4<u32>) {
    if (place.count == 0u) {
        return;
    }
    let word = code_word(place);
    // The block's first lane is live if any is.
    let is_first = place.home % 64u == 0u;
    if (SLOTS > 0u) {
        slot0[word] = encode_word(slots.slot0, absmax.x, 0u);
        if (is_first) {
            slot0[absmax_word(place)] = absmax.x;
        }
    }
    if (SLOTS > 1u) {
        slot1[word] = encode_word(slots.slot1, absmax.y, 1u);
        if (is_first) {
            slot1[absmax_word(place)] = absmax.y;
        }
    }
    if (SLOTS > 2u) {
        slot2[word] = encode_word(slots.slot2, absmax.z, 2u);
        if (is_first) {
            slot2[absmax_word(place)] = absmax.z;
        }
    }
}
