// Blocks of 256 elements: both vec4s of 32 lanes, or one of 64. The scale is an f32.
//
// Joined with: blocks/lanes_32.wgsl.

const SCALE_WORDS: u32 = 1u;

// Of two slots, both vec4s together.
alias Maxima = vec2<u32>;

fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    let of_lane = max(of_a, of_b);
    let both = largest_of_lanes(a.lane, of_lane.xy, of_lane.zw);
    var largest = vec4<u32>(both.first, both.others);
    if (LANE_VEC4S == 1u) {
        let next = largest_of_group((a.lane / 32u) ^ 1u);
        largest = max(largest, vec4<u32>(next.first, next.others));
    }
    return Largest(largest, largest);
}

// Both vec4s lie in one block (or the second has no elements).
fn load_scales(first: u32, a: Place) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(state[first + CODE_WORDS]));
}

// The block's first lane is live if any is.
fn store_scales(first: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.part == 0u) {
        state[first + CODE_WORDS] = of_a;
    }
}
