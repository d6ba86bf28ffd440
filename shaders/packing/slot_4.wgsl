// Codes of four bits, two to a byte, the even element in the upper half (as torchao packs them). The
// word of a lane holds its two vec4s, which lie 128 elements apart: the first in the lower 16 bits. So
// no two lanes write one word. (With one vec4 a lane, the lane of the first writes the codes of both.)

const CODE_WORDS: u32 = 32u;

fn load_codes(first: u32, place: Place) -> vec4<u32> {
    let word = state[first + place.part % 32u];
    let codes = word >> select(0u, 16u, place.part >= 32u);
    return (vec4<u32>(codes) >> vec4<u32>(4u, 0u, 12u, 8u)) & vec4<u32>(0xfu);
}

var<workgroup> lane_codes: array<u32, 128>;

fn store_codes(first: vec2<u32>, a: Place, b: Place, of_a: u32, of_b: u32) {
    var second = of_b;
    if (LANE_VEC4S == 1u) {
        lane_codes[a.lane] = of_a;
        workgroupBarrier();
        second = lane_codes[a.lane ^ 32u];
        // Until all have read what the next slot overwrites.
        workgroupBarrier();
    }
    // Where the second vec4 has no elements, its codes are padding.
    if (a.count != 0u && (LANE_VEC4S == 2u || a.part < 32u)) {
        state[first.x + a.part % 32u] = of_a | (second << 16u);
    }
}

fn pack_nibbles(codes: vec4<u32>) -> u32 {
    let shifted = codes << vec4<u32>(4u, 0u, 12u, 8u);
    return (shifted.x | shifted.y) | (shifted.z | shifted.w);
}
