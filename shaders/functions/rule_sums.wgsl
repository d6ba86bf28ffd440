// What a reduction adds up for a tile: what the rule wants. In its place: functions/steering_sums.wgsl.

alias TileSum = vec2<f32>;

fn summed(terms: Terms, direction: vec4<f32>, grad: vec4<f32>, count: u32) -> TileSum {
    return vec2<f32>(existing(terms.first, count), existing(terms.second, count));
}

fn four_sums(sum: TileSum) -> vec4<f32> {
    return vec4<f32>(sum, 0.0, 0.0);
}
