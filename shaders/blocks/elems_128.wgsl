// Blocks of 128 elements: the first vec4s of 32 lanes, and the second ones, which may be those of 32 others. The scale
// is an f32.
//
// Joined with: blocks/lanes_32.wgsl.

const SCALE_WORDS: u32 = 2u;

// Of two slots, of the first vec4 and then of the second.
alias Maxima = vec4<u32>;

fn largest_of_blocks(a: Place, of_a: vec4<u32>, of_b: vec4<u32>) -> Largest {
    let first = vec4<u32>(of_a.xy, of_b.xy);
    let both = largest_of_lanes(a.lane, first, vec4<u32>(of_a.zw, of_b.zw));
    if (LANE_VEC4S == 1u) {
        let next = largest_of_group((a.lane / 32u) ^ 1u);
        return Largest(
            vec4<u32>(both.first.xy, both.others.xy),
            vec4<u32>(next.first.xy, next.others.xy),
        );
    }
    return Largest(
        vec4<u32>(both.first.xy, both.others.xy),
        vec4<u32>(both.first.zw, both.others.zw),
    );
}

// (Where the second vec4 has no elements, its block's scale is 0.)
fn load_scales(first: u32, a: Place) -> vec2<f32> {
    let word = first + CODE_WORDS;
    let scales = bitcast<vec2<f32>>(vec2<u32>(state[word], state[word + 1u]));
    return select(scales, scales.yx, LANE_VEC4S == 1u && a.part >= 32u);
}

// The first lane is live if any is; where the second block has no elements, its scale is 0.
fn store_scales(first: u32, a: Place, of_a: u32, of_b: u32) {
    if (a.part == 0u) {
        let word = first + CODE_WORDS;
        state[word] = of_a;
        state[word + 1u] = of_b;
    }
}
